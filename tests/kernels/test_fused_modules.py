"""Fused modules against the modules whose place they take, one by one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from secateur.core.errors import KernelError
from secateur.kernels.fused_modules import FusedMlp, FusedSwinBlock, FusedWindowAttention, pair, windows_of
from tests.kernels.models import make_swin, pruned_swin

SWINS = {
    "dense": make_swin,
    "fewer heads": lambda: pruned_swin("head"),
    "narrower": lambda: pruned_swin("head", "qk_dim", "v_dim"),
}
BLOCKS = {"windows": "layers.0.blocks.0", "shifted windows": "layers.0.blocks.1", "one window": "layers.1.blocks.0"}


def maps(block: nn.Module, batch: int = 2) -> Tensor:
    width = block.norm1.weight.shape[0]
    return torch.randn(batch, *block.input_resolution, width, generator=torch.Generator().manual_seed(batch))


@pytest.fixture(scope="module", params=SWINS)
def swin(request: pytest.FixtureRequest) -> nn.Module:
    return SWINS[request.param]()


@pytest.mark.parametrize("place", BLOCKS.values(), ids=BLOCKS.keys())
def test_window_attention_is_timms(swin: nn.Module, place: str) -> None:
    """With the table of biases, the mask of shifted windows, and as many and as wide heads as are left."""
    block = swin.get_submodule(place)
    fused = FusedWindowAttention(block.attn, pair(block.window_size), pair(block.shift_size))
    for batch in (1, 3):
        x = maps(block, batch)
        with torch.no_grad():
            torch.testing.assert_close(fused(x), windows_of(block, x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("what", ["bias", "shift"])
def test_the_comparison_sees_a_bias_or_a_shift_that_is_left_out(what: str) -> None:
    block = make_swin().get_submodule(BLOCKS["shifted windows"])
    assert any(block.shift_size)
    fused = FusedWindowAttention(block.attn, pair(block.window_size), (0, 0) if what == "shift" else block.shift_size)
    if what == "bias":
        fused.bias.zero_()
    with torch.no_grad():
        assert float((fused(maps(block)) - windows_of(block, maps(block))).abs().max()) > 1e-2


@pytest.mark.parametrize("windows", [False, True])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("place", BLOCKS.values(), ids=BLOCKS.keys())
def test_a_swin_block_is_timms(swin: nn.Module, place: str, windows: bool, residual: bool) -> None:
    block = swin.get_submodule(place)
    fused = FusedSwinBlock(block, windows, residual).eval()
    with torch.no_grad():
        torch.testing.assert_close(fused(maps(block)), block(maps(block)), atol=1e-5, rtol=1e-5)


def test_a_map_of_broken_windows_is_refused() -> None:
    block = make_swin().get_submodule(BLOCKS["windows"])
    fused = FusedWindowAttention(block.attn, pair(block.window_size), (0, 0))
    with pytest.raises(KernelError, match="a feature map of 6 x 8 was given with windows of 4 x 4"):
        fused(torch.zeros(1, 6, 8, 16))


def test_an_mlp_is_timms() -> None:
    mlp = make_swin().get_submodule("layers.0.blocks.0.mlp")
    x = torch.randn(2, 3, 5, 16)
    with torch.no_grad():
        torch.testing.assert_close(FusedMlp(mlp)(x), mlp(x), atol=1e-6, rtol=1e-5)
