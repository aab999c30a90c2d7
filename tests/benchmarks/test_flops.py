"""MACs against PyTorch's own counter, against the definition, and what must be said when something is not counted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor

from secateur.benchmarks.flops import count_macs
from secateur.core.errors import BenchError
from tests.counting import Wrapped, torch_macs
from tests.forked import finished, started

MODELS: list[tuple[str, int, dict[str, object]]] = [
    ("deit_tiny_patch16_224", 224, {}),
    ("resnet18", 96, {}),
    ("swin_tiny_patch4_window7_224", 224, {"depths": (1, 2, 1, 1)}),
    ("convnext_atto", 96, {}),
    ("efficientnet_b0", 96, {}),
    ("mobilenetv3_small_050", 96, {}),
    ("levit_128s", 224, {}),
    ("cait_xxs24_224", 224, {"depth": 2}),
    ("xcit_nano_12_p8_224", 224, {"depth": 2}),
]


@pytest.mark.parametrize(("name", "size", "kwargs"), MODELS, ids=[row[0] for row in MODELS])
def test_agrees_with_the_flop_counter_of_torch(name: str, size: int, kwargs: dict[str, object]) -> None:
    model = timm.create_model(name, **kwargs)
    for parameter in model.parameters():
        parameter.requires_grad_(False)  # the counter's module tracker stumbles over CaiT's gradients
    example = torch.zeros(1, 3, size, size)
    cost = count_macs(model, example)
    assert cost.unsupported == {}
    assert cost.macs == pytest.approx(torch_macs(model, example), rel=0.01)
    assert cost.flops == 2 * cost.macs
    assert cost.params == sum(parameter.numel() for parameter in model.parameters())


def test_attention_is_counted_and_belongs_to_its_module() -> None:
    model = timm.create_model("deit_tiny_patch16_224", img_size=32, depth=1)
    cost = count_macs(model, torch.zeros(1, 3, 32, 32))
    tokens, width = 2 * 2 + 1, 192
    projections = tokens * width * 4 * width
    assert cost.by_module["blocks.0.attn"] == projections + 2 * tokens * tokens * width
    assert cost.by_module["blocks.0.mlp"] == tokens * width * 8 * width
    assert cost.by_module["patch_embed"] == 4 * 3 * 16 * 16 * width
    assert "norm" not in cost.by_module


def test_macs_grow_with_the_batch() -> None:
    model = timm.create_model("test_vit")
    one, three = (count_macs(model, torch.zeros(batch, 3, 160, 160)).macs for batch in (1, 3))
    assert three == 3 * one


def test_the_model_is_left_as_it_was() -> None:
    model = timm.create_model("test_resnet").train()
    model.layer1.eval()
    modes = [module.training for module in model.modules()]
    before = {key: value.clone() for key, value in model.state_dict().items()}
    count_macs(model, torch.randn(2, 3, 64, 64))
    with pytest.raises(BenchError):
        count_macs(model, torch.randn(2, 5, 64, 64))
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in model.modules())


N, K, M = 6, 8, 5
x = torch.randn(2, N, K)


@pytest.mark.parametrize(
    ("function", "operation"),
    [
        (torch.linalg.svdvals, "aten::linalg_svdvals"),
        (lambda t: torch.linalg.matrix_exp(t[..., :N]), "aten::linalg_matrix_exp"),
    ],
)
def test_what_is_not_counted_is_named(function: Callable[[Tensor], Tensor], operation: str) -> None:
    cost = count_macs(Wrapped(lambda t: function(t).sum() + t @ torch.ones(K)), x)
    assert cost.unsupported == {operation: 1}
    assert cost.macs == 2 * N * K


def test_a_custom_autograd_function_is_named() -> None:
    class Twice(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, t: Tensor) -> Tensor:
            return 2 * t

    cost = count_macs(Wrapped(Twice.apply), x)
    assert cost.unsupported == {"prim::PythonOp.Twice": 1}


@pytest.mark.nightly
def test_nothing_is_printed(tmp_path: Path) -> None:
    """In a process whose logs no test runner catches."""
    code = (
        "os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT), 1)\nos.dup2(1, 2)\n"
        "import timm; from secateur.benchmarks.flops import count_macs\n"
        "count_macs(timm.create_model('test_vit'), torch.zeros(1, 3, 160, 160))\n"
        "sys.stdout.flush()"
    )
    assert finished(started(code, said=str(tmp_path / "said"))) == [0]
    assert (tmp_path / "said").read_text() == ""
