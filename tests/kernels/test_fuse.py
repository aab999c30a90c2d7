"""A fused model computes what the model computed: eager, compiled, exported; what cannot be fused says why."""

from __future__ import annotations

import copy
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import secateur as sc
from secateur.core.errors import KernelError
from secateur.kernels import ops
from secateur.kernels.fuse import KERNELS, TOLERANCE, Fusion
from secateur.kernels.fused_modules import FusedAttention, FusedBlock, FusedMlp, FusedSwinBlock
from secateur.kernels.ragged_attention import RaggedAttention
from tests.conftest import make_vit
from tests.kernels.models import image, make_swin, pruned, pruned_swin


def distance(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max())


@pytest.fixture(scope="module")
def models() -> tuple[nn.Module, nn.Module]:
    small = pruned(init_values=0.5)
    return small, sc.fuse(small, KERNELS)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_fused_model_computes_the_same(models: tuple[nn.Module, nn.Module], dtype: torch.dtype) -> None:
    small, fused = (copy.deepcopy(model).to(dtype) for model in models)
    with torch.no_grad():
        assert distance(fused(image().to(dtype)), small(image().to(dtype))) < TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("compiled", [False, True])
def test_a_fused_model_runs_under_autocast(
    models: tuple[nn.Module, nn.Module], dtype: torch.dtype, compiled: bool
) -> None:
    """Parameters stay float32, and the operators take the types that PyTorch's own would."""
    small, fused = models
    run = torch.compile(fused, fullgraph=True, backend="aot_eager") if compiled else fused
    with torch.no_grad(), torch.autocast("cpu", dtype):
        found, expected = run(image()), small(image())
    assert found.dtype == expected.dtype == dtype
    assert distance(found.float(), expected.float()) < TOLERANCE[dtype]


def test_under_autocast_sums_and_normalisations_stay_float32() -> None:
    x, vector = torch.randn(2, 5, 8), torch.randn(8)
    qkv, heads = torch.randn(2, 5, 24), ([8], [8], 0.3)
    with torch.autocast("cpu", torch.bfloat16):
        normed = ops.residual_layernorm(x.bfloat16(), x, None, vector, vector, 1e-6)
        assert [one.dtype for one in normed] == [torch.float32] * 2
        assert ops.ragged_attention(qkv, *heads, None, torch.zeros(1, 5, 5)).dtype == torch.bfloat16
        assert ops.bias_gelu(x.bfloat16(), bias=vector).dtype == torch.bfloat16
        assert ops.bias_gelu(x.double(), vector.double()).dtype == torch.float64


def test_every_layer_is_replaced_and_the_model_is_left_alone(models: tuple[nn.Module, nn.Module]) -> None:
    small, fused = models
    for index in range(2):
        block = fused.get_submodule(f"blocks.{index}")
        assert isinstance(block, FusedBlock)
        assert isinstance(block.attn, FusedAttention)
        assert isinstance(block.mlp, FusedMlp)
    assert isinstance(small.get_submodule("blocks.0.attn"), RaggedAttention)
    assert not fused.training
    assert not any(parameter.requires_grad for parameter in fused.parameters())
    assert all(parameter.requires_grad for parameter in small.parameters())
    assert all(not one.reason for one in sc.fusions(small))
    assert [one.kernel for one in sc.fusions(small) if one.module == "blocks.0"] == ["residual_layernorm"]


def test_a_kernel_that_nothing_shows_to_be_faster_is_off_unless_it_is_named(
    models: tuple[nn.Module, nn.Module],
) -> None:
    small = models[0]
    off = {one.kernel for one in sc.fusions(small) if one.off}
    assert off == {"bias_gelu"}
    assert all("no measurement has shown it faster" in one.off for one in sc.fusions(small) if one.kernel in off)
    for fused, expected in ((sc.fuse(small), False), (sc.fuse(small, ["bias_gelu"]), True)):
        assert isinstance(fused.get_submodule("blocks.0.mlp"), FusedMlp) is expected


class Counter(TorchDispatchMode):
    """Counts the operators that run."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: object, args: tuple[object, ...] = (), kwargs: dict[str, object] | None = None
    ) -> object:
        self.names.append(func.name())
        return func(*args, **(kwargs or {}))


def test_the_operators_are_what_runs(models: tuple[nn.Module, nn.Module]) -> None:
    with Counter() as counter, torch.no_grad():
        models[1](image())
    names = ("ragged_attention", "bias_gelu", "residual_layernorm")
    assert [counter.names.count(f"secateur::{name}") for name in names] == [2, 2, 2]


def test_export_and_compile(models: tuple[nn.Module, nn.Module], tmp_path_factory: pytest.TempPathFactory) -> None:
    """torch.export with a dynamic batch, through a file; torch.compile without a graph break."""
    fused = models[1]
    batch = torch.export.Dim("batch", min=1, max=8)
    program = torch.export.export(fused, (image(),), dynamic_shapes=({0: batch},))
    assert str(program.graph).count("secateur.ragged_attention") == 2
    file = tmp_path_factory.mktemp("export") / "fused.pt2"
    torch.export.save(program, file)
    compiled = torch.compile(fused, fullgraph=True, backend="aot_eager", dynamic=True)
    with torch.no_grad():
        for size in (3, 5):
            expected = fused(image(size))
            torch.testing.assert_close(torch.export.load(file).module()(image(size)), expected)
            torch.testing.assert_close(compiled(image(size)), expected)


MASKS: dict[str, Callable[[], dict[str, object]]] = {
    "causal": lambda: {"is_causal": True},
    "boolean": lambda: {"attn_mask": torch.rand(17, 17, generator=torch.Generator().manual_seed(1)) > 0.3},
    "of the heads": lambda: {"attn_mask": torch.randn(3, 17, 17, generator=torch.Generator().manual_seed(2))},
    "of the batch": lambda: {"attn_mask": torch.randn(2, 1, 1, 17, generator=torch.Generator().manual_seed(3))},
    "of the keys": lambda: {"attn_mask": torch.randn(1, 17, generator=torch.Generator().manual_seed(4))},
}


@pytest.mark.parametrize("name", MASKS)
def test_masks(models: tuple[nn.Module, nn.Module], name: str) -> None:
    """As scaled_dot_product_attention takes them; the layer has one head of width 1 and heads of two more widths."""
    attention, fused = (model.get_submodule("blocks.0.attn") for model in models)
    x = torch.randn(2, 17, 48, generator=torch.Generator().manual_seed(5))
    given = MASKS[name]()
    if name == "of the heads":  # the library's ragged path takes masks for all heads at once only
        attention = copy.deepcopy(attention)
        reference = [_one_head(attention, x, head, given["attn_mask"]) for head in range(3)]  # type: ignore[arg-type]
        expected = attention.proj(torch.cat(reference, -1))
    else:
        expected = attention(x, **given)
    with torch.no_grad():
        torch.testing.assert_close(fused(x, **given), expected, atol=1e-5, rtol=1e-5)


def _one_head(attention: nn.Module, x: Tensor, head: int, masks: Tensor) -> Tensor:
    """The values of one head, from the definition."""
    assert isinstance(attention, RaggedAttention)
    q, k, v = torch.split(attention.qkv(x), [sum(attention.qk_dims)] * 2 + [sum(attention.v_dims)], -1)
    q, k = (torch.split(part, list(attention.qk_dims), -1)[head] for part in (q, k))
    logits = attention.scale * q @ k.transpose(1, 2) + masks[head]
    return logits.softmax(-1) @ torch.split(v, list(attention.v_dims), -1)[head]


def test_a_mask_for_every_head_of_every_image_is_refused(models: tuple[nn.Module, nn.Module]) -> None:
    with pytest.raises(KernelError, match=r"mask of shape \[2, 3, 17, 17\] was given to 3 heads and a batch of 2"):
        models[1].get_submodule("blocks.0.attn")(torch.zeros(2, 17, 48), attn_mask=torch.zeros(2, 3, 17, 17))


def test_what_cannot_be_fused_says_why() -> None:
    model = make_vit(qk_norm=True, act_layer="gelu_tanh")
    model.blocks[0].attn = _normalised(model.blocks[0].attn)
    model.blocks[1].norm2 = nn.RMSNorm(48)
    found = {one.module: one for one in sc.fusions(model)}
    assert found["blocks.0"] == Fusion("blocks.0", "residual_layernorm")
    assert "normalised before the product" in found["blocks.0.attn"].reason
    assert "GELUTanh" in found["blocks.0.mlp"].reason
    assert "RMSNorm" in found["blocks.1"].reason
    fused = sc.fuse(model)
    assert isinstance(fused.get_submodule("blocks.0.attn"), RaggedAttention)
    with torch.no_grad():
        assert distance(fused(image()), model(image())) < TOLERANCE[torch.float32]


def _normalised(attention: nn.Module) -> RaggedAttention:
    return RaggedAttention(
        attention.qkv,
        attention.proj,
        [16] * 3,
        [16] * 3,
        0.25,
        q_norm=attention.q_norm,
        k_norm=attention.k_norm,  # type: ignore[arg-type]  # modules of timm
    )


SWIN = ("window_attention", "bias_gelu", "residual_layernorm")


@pytest.mark.parametrize("kinds", [(), ("head", "qk_dim", "v_dim")], ids=["dense", "pruned"])
def test_a_swin_runs_through_the_operators(kinds: tuple[str, ...]) -> None:
    model = pruned_swin(*kinds) if kinds else make_swin()
    assert [(one.kernel, one.reason) for one in sc.fusions(model) if one.module.endswith("blocks.1")] == [
        ("window_attention", ""), ("residual_layernorm", "")
    ]  # fmt: skip
    fused = sc.fuse(model, KERNELS)
    with Counter() as counter, torch.no_grad():
        found = fused(image(3))
        expected = model(image(3))
    assert [counter.names.count(f"secateur::{name}") for name in SWIN] == [3, 3, 3]
    assert distance(found, expected) < TOLERANCE[torch.float32]
    assert not any(isinstance(module, FusedSwinBlock) for module in model.modules())


@pytest.mark.parametrize("kernel", SWIN)
def test_one_kernel_alone_serves_a_swin(kernel: str) -> None:
    model = make_swin()
    fused = sc.fuse(model, [kernel])
    with Counter() as counter, torch.no_grad():
        assert distance(fused(image()), model(image())) < TOLERANCE[torch.float32]
    assert [counter.names.count(f"secateur::{name}") for name in SWIN] == [3 * (name == kernel) for name in SWIN]


@pytest.mark.nightly
def test_a_fused_swin_is_exported_with_a_dynamic_batch(tmp_path: Path) -> None:
    fused = sc.fuse(pruned_swin("head", "qk_dim", "v_dim"))
    info = sc.export_onnx(fused, tmp_path / "swin.onnx", image())
    assert {node.domain for node in onnx.load(str(info.path)).graph.node} == {""}
    if find_spec("onnxruntime"):
        assert sc.check_parity(fused, info.path, batches=(1, 3)).worst.relative < 1e-4


class _Plain(nn.Module):
    """No attention at all."""

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return 2 * x


def test_a_swin_that_the_kernel_cannot_serve_says_why() -> None:
    odd = make_swin(img_size=20, strict_img_size=False)
    reasons = {one.module: one.reason for one in sc.fusions(odd) if one.kernel == "window_attention"}
    assert reasons["layers.0.blocks.0"] == "its map of 10 x 10 is no whole number of windows of 4 x 4"
    model = make_swin()
    model.layers[0].blocks[0].attn = _Plain()
    model.layers[0].blocks[1].attn.scale = 0.5 * model.layers[0].blocks[1].attn.scale
    scaled = model.layers[1].blocks[0].attn
    scaled.register_forward_hook(lambda module, given, out: 2 * out)
    reasons = {one.module: one.reason for one in sc.fusions(model) if one.kernel == "window_attention"}
    assert "its attention is a _Plain without a table" in reasons["layers.0.blocks.0"]
    assert reasons["layers.0.blocks.1"] == ""  # the kernel takes any scale
    assert "its attention is not the kernel's: outputs differ by" in reasons["layers.1.blocks.0"]
    fused = sc.fuse(model, ["window_attention"])
    with torch.no_grad():
        assert distance(fused(image()), model(image())) < TOLERANCE[torch.float32]


def test_a_model_with_nothing_to_fuse_is_refused() -> None:
    with pytest.raises(KernelError, match="Sequential has nothing that the kernels could serve: fuse a ViT or a Swin"):
        sc.fuse(nn.Sequential(nn.Linear(2, 2)))
    with pytest.raises(KernelError, match=r"\(0: its queries and keys are normalised"):
        sc.fuse(nn.Sequential(_normalised(make_vit(qk_norm=True).blocks[0].attn)))
    with pytest.raises(KernelError, match=r"\(bias_gelu would serve it, but is not among `kernels`\)"):
        sc.fuse(nn.Sequential(make_vit().blocks[0].mlp))
