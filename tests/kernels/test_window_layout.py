"""The heads of a Swin's attention: of timm's module, of the code that pruning leaves, and what has none."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import fx, nn

from secateur.core.errors import KernelError
from secateur.kernels.window_layout import window_layout
from tests.kernels.models import make_swin, pruned_swin

WHERE = "layers.1.blocks.0.attn"  # four heads of eight


@pytest.mark.parametrize("fused", [False, True])
def test_of_timms_own_module(fused: bool) -> None:
    attention = make_swin().get_submodule(WHERE)
    attention.fused_attn = fused  # type: ignore[assignment]  # no submodule, but a flag of timm
    found = window_layout(attention)
    assert (found.qk_dims, found.v_dims) == ((8,) * 4, (8,) * 4)
    assert found.scale == pytest.approx(8**-0.5)


@pytest.mark.parametrize(
    ("kinds", "heads", "qk", "v"),
    [(("head",), 3, 8, 8), (("head", "qk_dim", "v_dim"), 3, 5, 6)],
)
def test_of_a_pruned_one_keeps_the_scale(kinds: tuple[str, ...], heads: int, qk: int, v: int) -> None:
    found = window_layout(pruned_swin(*kinds).get_submodule(WHERE))
    assert (found.qk_dims, found.v_dims) == ((qk,) * heads, (v,) * heads)
    assert found.scale == pytest.approx(8**-0.5)  # that of the dense model


def test_a_scale_that_is_an_argument_of_the_librarys_attention() -> None:
    module = copy.deepcopy(pruned_swin("head").get_submodule(WHERE))
    graph = getattr(module, "written_graph", None)
    assert isinstance(graph, fx.Graph)
    aten = torch.ops.aten
    (multiplied,) = [node for node in graph.nodes if node.target is aten.mul.Tensor]
    multiplied.target, multiplied.args = aten.scaled_dot_product_attention.default, (multiplied.args[0],) * 3
    for given, scale in (({"scale": 0.25}, 0.25), ({}, 8**-0.5)):
        multiplied.kwargs = given
        assert window_layout(module).scale == pytest.approx(scale)


def test_what_has_no_such_heads() -> None:
    attention = make_swin().get_submodule(WHERE)

    class Other(nn.Module):
        def __init__(self, table: bool, linear: bool, heads: int = 4, width: int = 96) -> None:
            super().__init__()
            if table:
                self.relative_position_bias_table = nn.Parameter(torch.zeros(49, heads))
                self.relative_position_index = nn.Buffer(torch.zeros(16, 16, dtype=torch.long))
            self.qkv = nn.Linear(32, width) if linear else nn.Identity()
            self.proj = nn.Linear(width // 3, 32)

    for module, words in (
        (Other(False, True), "its attention is a Other without a table"),
        (Other(True, False), "no linear projections"),
        (Other(True, True, heads=5), "its 5 heads are of different widths"),
        (Other(True, True, heads=1, width=3 * 200), "its heads are 200 wide, and the kernel takes at most 128"),
        (Other(True, True), "is a Other, whose scale is not known"),
    ):
        with pytest.raises(KernelError, match=words):
            window_layout(module)
    attention.written_graph = fx.Graph()  # type: ignore[assignment]  # no submodule, but code that was taken over
    with pytest.raises(KernelError, match="has 0 scales"):
        window_layout(attention)
