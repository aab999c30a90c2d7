"""Code written anew from the graph computes what the module's own code does, whatever it is made of."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.pipeline.structure.codegen.calls import CodeError
from tests.pipeline.structure.codegen.taking_over import Around, Code, check, take_over

IMAGE, TOKENS = torch.randn(1, 3, 6, 6), torch.randn(1, 5, 8)


def around(inner: nn.Module, out: int = 16, tokens: bool = False) -> tuple[Around, Tensor]:
    """A module between a layer that makes 16 features and one that reads `out`, and an example."""
    if tokens:
        return Around(nn.Linear(8, 16), inner, nn.Linear(out, 4)), TOKENS
    return Around(nn.Conv2d(3, 16, 1), inner, nn.Conv2d(out, 4, 1)), IMAGE


def attention(m: Any, x: Tensor) -> Tensor:
    """Four heads written out, each number of them repeated."""
    batch, tokens, _ = x.shape
    q, k, v = m.qkv(x).reshape(batch, tokens, 3, 4, 4).permute(2, 0, 3, 1, 4)
    weights = (q @ k.transpose(-2, -1) * 4**-0.5).softmax(-1)
    return m.proj((weights @ v).transpose(1, 2).reshape(batch, tokens, 16))


def fused(m: Any, x: Tensor) -> Tensor:
    batch, tokens, _ = x.shape
    q, k, v = (part.view(batch, tokens, 4, 4).transpose(1, 2) for part in m.qkv(x).split(16, -1))
    return m.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, tokens, 16))


def layers(**names: tuple[int, int]) -> dict[str, nn.Module]:
    return {name: nn.Linear(*sizes) for name, sizes in names.items()}


def convolutions(**names: tuple[int, int]) -> dict[str, nn.Module]:
    return {name: nn.Conv2d(*sizes, 1) for name, sizes in names.items()}


def tokens_of(image: Tensor) -> Tensor:
    """An image as tokens and back, with every length repeated."""
    rows = image.permute(0, 2, 3, 1).reshape(image.shape[0] * 6, 6, 16) * 2
    return rows.reshape(image.shape[0], 6, 6, 16).permute(0, 3, 1, 2)


IN_IMAGES: dict[str, Code] = {
    "parts at fixed positions": Code(
        lambda m, x: torch.cat([m.one(x[:, :8]), F.gelu(x[:, 8:])], 1), **convolutions(one=(8, 8))
    ),
    "a split into equal parts": Code(
        lambda m, x: m.two(torch.mul(*m.one(x).split((6, 6), 1))), **convolutions(one=(16, 12), two=(6, 16))
    ),
    "a split into unequal parts": Code(
        lambda m, x: torch.cat([part * number for number, part in enumerate(x.split((3, 5, 8), 1), 1)], 1)
    ),
    "halves of a view": Code(
        lambda m, x: m.one(torch.mul(*x.view(-1, 2, 8, 6, 6).unbind(1))), **convolutions(one=(8, 16))
    ),
    "the product of halves of a view": Code(
        lambda m, x: (lambda y: m.one(y[:, 0] * y[:, 1]))(x.view(x.shape[0], 2, 8, 6, 6)), **convolutions(one=(8, 16))
    ),
    "channels that the code counts": Code(lambda m, x: x * x.sum((2, 3)).reshape(-1, 16, 1, 1) / 36),
    "an expanded scale": Code(
        lambda m, x: x * m.scale.reshape(1, 16, 1, 1).expand(x.shape[0], 16, 6, 6), scale=nn.Parameter(torch.rand(16))
    ),
    "a selected part": Code(lambda m, x: x + x.unflatten(1, (2, 8)).select(1, 1).repeat(1, 2, 1, 1)),
    "a depthwise convolution as a function": Code(
        lambda m, x: F.conv2d(x, m.weight, None, 1, 1, 1, 16), weight=nn.Parameter(torch.randn(16, 1, 3, 3))
    ),
    "the same with its groups by name": Code(
        lambda m, x: F.conv2d(x, m.weight, padding=1, groups=16), weight=nn.Parameter(torch.randn(16, 1, 3, 3))
    ),
    "a transposed one": Code(
        lambda m, x: F.conv_transpose2d(x, m.weight, groups=16), weight=nn.Parameter(torch.randn(16, 1, 1, 1))
    ),
    "a group normalisation as a function": Code(
        lambda m, x: F.group_norm(x, 4, m.scale, m.shift).view(-1, 16, 6, 6),
        scale=nn.Parameter(torch.rand(16)),
        shift=nn.Parameter(torch.rand(16)),
    ),
    "a batch normalisation among numbers": Code(
        lambda m, x: m.norm(x.view(-1, 16, 36).reshape(-1, 16, 6, 6)), norm=nn.BatchNorm2d(16)
    ),
    "numbers of its own": Code(lambda m, x: x.view(-1, 16, 36)[:, :, torch.arange(36).flip(0)].view(-1, 16, 6, 6)),
    "lengths of the batch": Code(lambda m, x: tokens_of(x)),
    "a multiple of the batch": Code(
        lambda m, x: x + m.scale.expand(x.shape[0] * 6, 6, 16).reshape(-1, 6, 6, 16).permute(0, 3, 1, 2),
        scale=nn.Parameter(torch.rand(16)),
    ),
    "a function in place": Code(lambda m, x: m.one(x).relu_().view(-1, 16, 6, 6), **convolutions(one=(16, 16))),
    "another type and back": Code(lambda m, x: x.double().view(-1, 16, 36).float().view(-1, 16, 6, 6)),
    "a view as other numbers": Code(
        lambda m, x: x.view(-1, 16, 36).view(torch.int32).view(torch.float32).view(-1, 16, 6, 6)
    ),
}
IN_TOKENS: dict[str, Code] = {
    "a layer normalisation as a child": Code(
        lambda m, x: m.two(m.norm(m.one(x).view(-1, 5, 12))),
        norm=nn.LayerNorm(12),
        **layers(one=(16, 12), two=(12, 16)),
    ),
    "a token of its own for every sample": Code(
        lambda m, x: torch.cat([m.token.expand(x.shape[0], 1, 16), x.view(-1, 5, 16)], 1),
        token=nn.Parameter(torch.rand(1, 1, 16)),
    ),
    "heads written out": Code(attention, **layers(qkv=(16, 48), proj=(16, 16))),
    "heads of the fused operation, whose scale stays": Code(fused, **layers(qkv=(16, 48), proj=(16, 16))),
    "a product in Einstein's notation": Code(
        lambda m, x: torch.einsum("bnc,ce->bne", x.view(x.shape[0], 5, 16), m.weight),
        weight=nn.Parameter(torch.randn(16, 16)),
    ),
    "a product of matrices": Code(
        lambda m, x: x.view(x.shape[0], 5, 16) @ m.weight, weight=nn.Parameter(torch.randn(16, 16))
    ),
}


@pytest.mark.parametrize("case", [*IN_IMAGES, *IN_TOKENS])
def test_code_that_is_taken_over_computes_what_it_did(case: str) -> None:
    torch.manual_seed(0)
    model, example = around(copy.deepcopy(IN_IMAGES.get(case) or IN_TOKENS[case]), tokens=case in IN_TOKENS)
    found = take_over(model, example)
    assert sum(p.numel() for p in found.small.parameters()) < sum(p.numel() for p in model.parameters())
    check(found, example)


def test_heads_of_a_layer_may_keep_other_numbers_of_dimensions() -> None:
    model, example = around(Code(attention, **layers(qkv=(16, 48), proj=(16, 16))), tokens=True)
    found = take_over(model, example, but=("qk_dim", "head"))
    qkv = found.inner.get_submodule("qkv")
    assert isinstance(qkv, nn.Linear) and qkv.out_features < 48, "values lose dimensions, queries and keys none"
    check(found, example)


def test_nothing_is_written_where_no_number_changes() -> None:
    """The channels that the module reads and makes are fixed, those within it belong to its layers alone."""
    inner = Code(lambda m, x: m.two(m.one(x).relu()), **convolutions(one=(16, 12), two=(12, 16)))
    model = Around(nn.Sequential(nn.Conv2d(3, 16, 1), nn.Softmax(1)), inner, nn.Sequential(nn.Softmax(1)))
    found = take_over(model, IMAGE)
    assert [group.name for group in found.groups] == ["inner.one.channels"]
    assert isinstance(found.inner, Code)
    x = torch.randn(2, 3, 6, 6)
    torch.testing.assert_close(found.small(x), found.reference(x))


def test_the_new_module_is_an_ordinary_one() -> None:
    model, example = around(Code(attention, **layers(qkv=(16, 48), proj=(16, 16))), tokens=True)
    found = take_over(model, example)
    assert type(found.inner).__name__ == "Code"
    assert set(found.small.state_dict()) == set(model.state_dict())
    x = torch.randn(2, 5, 8)
    expected = found.small(x)
    torch.testing.assert_close(copy.deepcopy(found.small)(x), expected)
    expected.sum().backward()
    assert all(parameter.grad is not None for parameter in found.small.parameters())


def test_children_stay_what_they_are_and_train() -> None:
    inner = Code(lambda m, x: m.drop(x.view(-1, 16, 6, 6)), drop=nn.Dropout(0.5))
    found = take_over(around(inner)[0], IMAGE)
    assert isinstance(found.inner.get_submodule("drop"), nn.Dropout)
    assert not found.inner.training
    x = torch.randn(2, 3, 6, 6)
    assert torch.equal(found.small(x), found.small(x))
    found.small.train()
    assert not torch.equal(found.small(x), found.small(x)), "dropout drops in training"


class Twice(nn.Module):
    """Runs its inner module on two inputs."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.first, self.inner, self.last = nn.Conv2d(3, 16, 1), inner, nn.Conv2d(16, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        out: Tensor = self.last(self.inner(x) + self.inner(x.flip(-1)))
        return out


REFUSED: dict[str, tuple[nn.Module, str]] = {
    "two results": (
        Around(
            nn.Conv2d(3, 16, 1),
            Code(lambda m, x: (x.view(-1, 16, 36), x)),
            Code(lambda m, x: m.last(x[0].sum(-1) + x[1].sum((2, 3))), last=nn.Linear(16, 4)),
        ),
        "returns 2 tensors",
    ),
    "two calls": (Twice(Code(lambda m, x: x.view(-1, 16, 36).view(-1, 16, 6, 6))), "runs 2 times"),
    "every second channel": (
        around(Code(lambda m, x: m.one(x[:, ::2]), one=nn.Conv2d(8, 16, 1)))[0], "every 2th unit",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", list(REFUSED))
def test_code_that_cannot_be_taken_over_says_so(case: str) -> None:
    model, reason = REFUSED[case]
    with pytest.raises(CodeError, match=reason) as caught:
        take_over(model, IMAGE)
    assert caught.value.modules == ("inner",)
    assert "inner" in str(caught.value)
