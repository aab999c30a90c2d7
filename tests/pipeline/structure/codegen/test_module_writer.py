"""Code written anew from the graph computes what the module's own code does, whatever it is made of."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_outputs import BaseModelOutput

from secateur.core.errors import SurgeryError
from secateur.pipeline.structure.codegen.calls import CodeError
from secateur.pipeline.structure.codegen.written_module import write_forward
from secateur.pipeline.structure.cutting import positions_kept, sliced
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.plan import plan_from_kept
from secateur.pipeline.structure.surgery import prune
from tests.pipeline.structure.codegen.taking_over import Around, Code, TakenOver, check, take_over
from tests.pipeline.structure.codegen.test_nested import Data, Named

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


def in_regions(x: Tensor) -> Tensor:
    """Regions of autocast, one in another."""
    with torch.autocast(x.device.type, dtype=torch.bfloat16):
        x = x.view(-1, 16, 36) * 2
        with torch.autocast(x.device.type, enabled=False):
            x = x.float() + 1
        x = x.relu()
    return x.view(-1, 16, 6, 6)


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
    "the batch by its len": Code(lambda m, x: m.one(x.view(len(x), 16, 6, 6)), **convolutions(one=(16, 16))),
    "a multiple of the batch": Code(
        lambda m, x: x + m.scale.expand(x.shape[0] * 6, 6, 16).reshape(-1, 6, 6, 16).permute(0, 3, 1, 2),
        scale=nn.Parameter(torch.rand(16)),
    ),
    "a function in place": Code(lambda m, x: m.one(x).relu_().view(-1, 16, 6, 6), **convolutions(one=(16, 16))),
    "another type and back": Code(lambda m, x: x.double().view(-1, 16, 36).float().view(-1, 16, 6, 6)),
    "a region of autocast": Code(lambda m, x: in_regions(x)),
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


@torch.no_grad()
def means(m: Any, x: Tensor) -> Tensor:
    return m.one(x).mean((2, 3), keepdim=True)


@torch.inference_mode()
def signs(m: Any, x: Tensor) -> Tensor:
    return m.one(x).sign()


def half_frozen(m: Any, x: Tensor) -> Tensor:
    with torch.no_grad():
        y = m.one(x).view(-1, 16, 6, 6).relu()
        with torch.set_grad_enabled(False):
            y = y * 2
    return y + m.two(x).view(-1, 16, 6, 6)


WITHOUT_GRADIENTS: dict[str, Callable[..., Any]] = {
    "a region in a region": half_frozen,
    "a function": lambda m, x: means(m, x).view(-1, 16, 1, 1) * m.two(x),
    "inference mode": lambda m, x: m.two(x).view(-1, 16, 6, 6) + signs(m, x),
    "a value": lambda m, x: m.one(x).detach().view(-1, 16, 6, 6) + m.two(x),
}


@pytest.mark.parametrize("in_training", [True, False])
def test_autocast_of_one_mode_is_of_that_mode_in_new_code(in_training: bool) -> None:
    def code(m: Any, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=m.training == in_training):
            y = m.one(x).view(-1, 16, 6, 6).relu()
        return y.float() + m.two(x).view(-1, 16, 6, 6)

    inner = Code(code, **convolutions(one=(16, 16), two=(16, 16)))
    found = take_over(around(inner)[0], IMAGE)
    x = torch.randn(2, found.width, 6, 6)
    for training in (True, False):
        types = list[torch.dtype]()
        handle = found.inner.get_submodule("one").register_forward_hook(lambda _m, _x, y, t=types: t.append(y.dtype))
        found.inner.train(training)(x)
        handle.remove()
        assert types == [torch.bfloat16 if training == in_training else torch.float32]


@pytest.mark.parametrize("case", list(WITHOUT_GRADIENTS))
@pytest.mark.parametrize("training", [True, False])
def test_what_takes_no_gradients_takes_none_in_new_code(case: str, training: bool) -> None:
    torch.manual_seed(0)
    inner = Code(WITHOUT_GRADIENTS[case], **convolutions(one=(16, 16), two=(16, 16)))
    found = take_over(around(inner)[0], IMAGE)
    check(found, IMAGE)
    x = torch.randn(2, 3, 6, 6)
    for model in (found.small, found.reference):
        model.train(training)(x).square().sum().backward()
    index = positions_kept(found.groups, found.plan.kept)
    parameters = dict(found.small.named_parameters())
    expected = {
        name: None if old.grad is None else sliced(old.grad, name, index)
        for name, old in found.reference.named_parameters()
    }
    assert [name for name, gradient in expected.items() if gradient is None] == ["inner.one.weight", "inner.one.bias"]
    for name, gradient in expected.items():
        torch.testing.assert_close(parameters[name].grad, gradient, rtol=1e-4, atol=1e-4)


class Dropping(nn.Module):
    """Attention between two layers, which drops in training, is called by keyword and may be run again (checkpoint)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(8, 16), nn.Linear(16, 4)
        self.inner = Code(attention, proj=nn.Sequential(nn.Linear(16, 16), nn.Dropout(0.5)), **layers(qkv=(16, 48)))
        self.checkpointing = False

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        x = checkpoint(self.inner, x, use_reentrant=False) if self.checkpointing else self.inner(x)
        out: Tensor = self.last(x)
        return out


@pytest.fixture(scope="module")
def dropping() -> TakenOver:
    torch.manual_seed(0)
    return take_over(Dropping(), TOKENS)


def test_new_code_is_compiled_like_any_other(dropping: TakenOver) -> None:
    compiled = torch.compile(dropping.small, backend="eager", fullgraph=True)
    for batch in (2, 3):
        x = torch.randn(batch, 5, 8)
        torch.testing.assert_close(compiled(x), dropping.small(x))


def test_new_code_runs_under_gradient_checkpointing(dropping: TakenOver) -> None:
    found = []
    for checkpointing in (False, True):
        small = copy.deepcopy(dropping.small).train()
        small.checkpointing = checkpointing  # type: ignore[assignment]  # nn.Module types attributes as Tensor | Module
        torch.manual_seed(0)
        small(TOKENS).square().sum().backward()
        found.append([parameter.grad for parameter in small.parameters()])
    assert all(torch.equal(one, two) for one, two in zip(*found, strict=True) if one is not None and two is not None)
    assert all(gradient is not None for gradient in found[1])


def test_new_code_trains_and_takes_hooks_and_weights(dropping: TakenOver) -> None:
    small, other = copy.deepcopy(dropping.small), copy.deepcopy(dropping.small)
    seen: list[tuple[int, ...]] = []
    small.get_submodule("inner").register_forward_pre_hook(lambda _, args: seen.append(tuple(args[0].shape)))
    small.get_submodule("inner.qkv").register_forward_hook(lambda _, args, out: seen.append(tuple(out.shape)))
    optimiser = torch.optim.SGD(small.train().parameters(), 0.1)
    before = small.eval()(TOKENS)
    small.train()(TOKENS).square().sum().backward()
    optimiser.step()
    after = small.eval()(TOKENS)
    assert not torch.equal(before, after)
    assert seen[::2] == [(1, 5, dropping.width)] * 3 and len(set(seen[1::2])) == 1
    other.load_state_dict(small.state_dict())
    assert torch.equal(other(TOKENS), after)


def test_children_stay_what_they_are_and_train() -> None:
    inner = Code(lambda m, x: m.drop(x.view(-1, 16, 6, 6)), drop=nn.Dropout(0.5))
    found = take_over(around(inner)[0], IMAGE)
    assert isinstance(found.inner.get_submodule("drop"), nn.Dropout)
    assert not found.inner.training
    x = torch.randn(2, 3, 6, 6)
    assert torch.equal(found.small(x), found.small(x))
    found.small.train()
    assert not torch.equal(found.small(x), found.small(x)), "dropout drops in training"


class Weighted(nn.Module):
    """A child that is passed more than a tensor, and returns one in an object."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(12, 16, 1)

    def forward(self, x: Tensor, power: int, *, box: Any) -> Any:
        return Named(None, {"found": (self.one(x) * box[0]) ** power})


def test_children_are_called_as_they_were() -> None:
    torch.manual_seed(0)
    model, example = around(
        Code(
            lambda m, x: m.child(m.one(x.view(-1, 16, 6, 6)), 2, box=[3.0, None]).two["found"] * 2,
            one=nn.Conv2d(16, 12, 1),
            child=Weighted(),
        )
    )
    found = take_over(model, example)
    check(found, example)
    seen: list[Any] = []
    child = found.inner.get_submodule("child")
    child.register_forward_hook(lambda _, args, kwargs, out: seen.append((args[1:], kwargs)), with_kwargs=True)
    found.small(example)
    assert seen == [((2,), {"box": [3.0, None]})]


def check_sizes(found: TakenOver, *sizes: int) -> None:
    for size in sizes:
        x = torch.randn(2, 3, size, size)
        with torch.no_grad():
            torch.testing.assert_close(found.small(x), found.reference(x), rtol=1e-4, atol=1e-5)


SIZED: dict[str, Code] = {
    "a mean over pixels that are counted": Code(
        lambda m, x: x.view(-1, 16, x.shape[2] * x.shape[3]).sum(-1).reshape(-1, 16, 1, 1) / (x.shape[2] * x.shape[3])
    ),
    "tokens and back": Code(
        lambda m, x: m.one(x.flatten(2).transpose(1, 2).reshape(x.shape[0], -1, 16)).transpose(1, 2).reshape(x.shape),
        one=nn.Linear(16, 16),
    ),
    "rows of channels": Code(
        lambda m, x: x.reshape(x.shape[0], 16 * x.shape[2], x.shape[3]).view(x.shape[0], 16, x.shape[2], x.shape[3])
    ),
    "positions": Code(
        lambda m, x: x.reshape(-1, 16, *x.shape[2:]) * torch.arange(x.shape[3], dtype=x.dtype).softmax(0)
    ),
    "a crop that keeps all of some sizes": Code(
        lambda m, x: m.up(m.down(x.view(-1, 16, *x.shape[2:])))[..., : x.shape[2], : x.shape[3]],
        down=nn.Conv2d(16, 12, 3, 2, 1),
        up=nn.ConvTranspose2d(12, 16, 2, 2),
    ),
    "a window": Code(
        lambda m, x: x.view(-1, 16, x.shape[2] // 2, 2, x.shape[3] // 2, 2).amax((3, 5)).repeat_interleave(2, 2)
    ),
}


@pytest.mark.parametrize("case", list(SIZED))
def test_code_that_is_taken_over_takes_the_sizes_that_it_took(case: str) -> None:
    torch.manual_seed(0)
    found = take_over(around(copy.deepcopy(SIZED[case]))[0], IMAGE)
    check(found, IMAGE)
    check_sizes(found, 8, 14)


def test_another_way_at_another_size_is_refused() -> None:
    def padded(m: Any, x: Tensor) -> Tensor:
        x = x.view(-1, 16, *x.shape[2:])
        return F.pad(x, (0, 4 - x.shape[3] % 4)) if x.shape[3] % 4 else x

    found = take_over(around(Code(padded))[0], IMAGE)
    check(found, IMAGE)
    with pytest.raises(SurgeryError, match="the code of inner was taken over for one size"):
        found.small(torch.randn(1, 3, 6, 8))


def test_numbers_of_one_size_refuse_any_other() -> None:
    scale = nn.Parameter(torch.rand(36))
    found = take_over(
        around(Code(lambda m, x: (x.view(-1, 16, 36) * m.scale).view(-1, 16, 6, 6), scale=scale))[0], IMAGE
    )
    check(found, IMAGE)
    with pytest.raises((SurgeryError, RuntimeError)):
        found.small(torch.randn(1, 3, 4, 9))


class Depth(nn.Module):
    """Stochastic depth, which does nothing in evaluation."""

    def forward(self, x: Tensor) -> Tensor:
        return x * (torch.rand(x.shape[0], 1, 1, 1) < 0.5) if self.training else x


def test_what_the_mode_decides_is_decided_by_the_module() -> None:
    def code(m: Any, x: Tensor) -> Tensor:
        return F.dropout(x.view(-1, 16, 6, 6), 0.5, m.training)

    found = take_over(around(Code(code))[0], IMAGE)
    check(found, IMAGE)
    inner, x = found.inner.train(), torch.ones(1, found.width, 6, 6)
    dropped = inner(x)
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
    assert torch.equal(inner.eval()(x), x)


def test_parts_that_do_nothing_in_evaluation_are_called_all_the_same() -> None:
    found = take_over(around(Code(lambda m, x: x + m.depth(x.view(-1, 16, 6, 6)), depth=Depth()))[0], IMAGE)
    check(found, IMAGE)
    assert isinstance(found.inner.get_submodule("depth"), Depth)
    torch.manual_seed(0)
    x = torch.ones(64, found.width, 6, 6)
    assert set(found.inner.train()(x).unique().tolist()) == {1.0, 2.0}


def test_attention_drops_weights_in_training_only() -> None:
    def dropping(m: Any, x: Tensor) -> Tensor:
        q = x.view(x.shape[0], 5, 2, 8).transpose(1, 2)
        y = F.scaled_dot_product_attention(q, q, q, dropout_p=0.5 if m.training else 0.0)
        return y.transpose(1, 2).reshape(x.shape[0], 5, 16)

    model, example = around(Code(dropping), tokens=True)
    found = take_over(model, example, step=4)
    check(found, example)
    x = torch.randn(2, 5, found.width)
    assert torch.equal(found.inner(x), found.inner(x))
    found.inner.train()
    assert not torch.equal(found.inner(x), found.inner(x))


def test_code_that_is_another_in_training_runs_in_evaluation_only() -> None:
    def code(m: Any, x: Tensor) -> Tensor:
        x = x.view(-1, 16, 6, 6)
        return x * torch.rand(len(x), 1, 1, 1) + 1 if m.training else x

    found = take_over(around(Code(code))[0], IMAGE)
    check(found, IMAGE)
    with pytest.raises(SurgeryError, match="the code of inner does something else in training"):
        found.small.train()(IMAGE)


class Called(nn.Module):
    """A module that is called with more than a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.inner, self.last = nn.Conv2d(3, 16, 1), Callee(), nn.Conv2d(16, 4, 1)

    def forward(self, x: Tensor, wrong: bool = False) -> Tensor:
        x = self.first(x)
        maps = {"two": x.sigmoid(), "one": x.relu()}
        out: Tensor = self.last(self.inner(x.tanh(), (x, 3), x.shape[3], maps=maps, scale=3.0 if wrong else 2.0))
        return out


class Callee(nn.Module):
    def forward(self, x: Tensor, pair: Any, width: int, *, maps: Any, scale: float = 1.0, mask: Any = None) -> Tensor:
        rows = (pair[0] * pair[1] - x).view(-1, 16, width, width)
        return rows * scale + maps["one"] * 5 - maps["two"] if mask is None else rows


def test_arguments_are_told_apart_though_their_shapes_are_equal() -> None:
    found = take_over(Called(), IMAGE)
    check(found, IMAGE)
    check_sizes(found, 8)
    with pytest.raises(SurgeryError, match=r"taken over for scale = 2\.0, got 3\.0"):
        found.small(IMAGE, wrong=True)


def test_attributes_and_parts_that_the_code_does_not_use_stay() -> None:
    inner = Code(lambda m, x: x.view(-1, 16, 6, 6), unused=nn.Linear(2, 2))
    inner.heads = 4  # type: ignore[assignment]  # nn.Module types every attribute as Tensor | Module
    found = take_over(around(inner)[0], IMAGE)
    assert found.inner.heads == 4
    assert "inner.unused.weight" in found.small.state_dict()


class Output(OrderedDict[str, Any]):
    """A mapping that can be asked for its members by their places, as the outputs of transformers."""

    def __getitem__(self, key: Any) -> Any:
        return list(self.values())[key] if isinstance(key, int) else super().__getitem__(key)


class Caller(nn.Module):
    """Calls its inner module once or twice, on maps of two sizes, with all that Python allows, and reads a result."""

    def __init__(self, returned: Callable[..., Any], read: Callable[[Any], Tensor], calls: int = 1) -> None:
        super().__init__()
        self.first, self.inner, self.last = nn.Conv2d(3, 16, 1), Returning(returned), nn.Conv2d(16, 4, 1)
        self.read, self.calls = read, calls

    def forward(self, x: Tensor, **more: Any) -> Tensor:
        x = self.first(x)
        for scale in (1, 2)[: self.calls]:
            y = x[..., ::scale, ::scale]
            box = Data(y.abs(), two=Named([y.cos()]))
            x = x + self.read(self.inner(y, y.relu(), 2, scale=3.0, more=y.tanh(), unused=None, box=box, **more)).mean(
                (2, 3), True
            )
        out: Tensor = self.last(x)
        return out


class Returning(nn.Module):
    """Has arguments of all kinds, and returns whatever is asked for."""

    def __init__(self, returned: Callable[..., Any]) -> None:
        super().__init__()
        self.one, self.returned = nn.Conv2d(16, 16, 1), returned

    def forward(self, x: Tensor, *rest: Any, flag: int = 1, scale: float, box: Data, **more: Any) -> Any:
        y = self.one(x.view(-1, 16, *x.shape[2:])) * scale * flag
        y = y + more["more"] * rest[0] ** rest[1] - box.one / (2 + box.two.one[0])
        return self.returned(y, x)


RETURNS: dict[str, tuple[Callable[..., Any], Callable[[Any], Tensor]]] = {
    "a tuple": (lambda y, x: (y, x), lambda r: r[0] * r[1]),
    "a list": (lambda y, x: [y, x], lambda r: r.pop() * r[0]),
    "a dictionary": (lambda y, x: {"a": y, 3: x}, lambda r: r["a"] * r[3]),
    "an ordered dictionary": (lambda y, x: OrderedDict(a=y, b=x), lambda r: r.popitem(last=False)[1]),
    "a named tuple": (lambda y, x: Named(y, (x, None)), lambda r: r.one * r.two[0]),
    "a dataclass": (lambda y, x: Data(y, 3, {"x": x}), lambda r: r.one * r.number * r.two["x"]),
    "an output of transformers": (
        lambda y, x: BaseModelOutput(y, hidden_states=(x,)), lambda r: r.last_hidden_state * r.hidden_states[0] + r[0],
    ),
    "a mapping of its own class": (lambda y, x: Output(one=y, two=None), lambda r: r[0]),
    "a nest of them": (lambda y, x: [2, Data(y)], lambda r: r[1].one * r[1].number + r[0]),
    "lengths": (lambda y, x: (y, *x.shape[2:]), lambda r: r[0].flatten(2).unflatten(2, r[1:])),
}  # fmt: skip


@pytest.mark.parametrize("case", list(RETURNS))
def test_what_is_passed_and_returned_stays_what_it_is(case: str) -> None:
    torch.manual_seed(0)
    found = take_over(Caller(*RETURNS[case], calls=1 + len(case) % 2), IMAGE)
    check(found, IMAGE)
    check_sizes(found, 10)
    found.small.read, found.inner.returned = None, None  # type: ignore[assignment]  # lambdas cannot be pickled
    loaded: Any = pickle.loads(pickle.dumps(found.small))
    loaded.read = RETURNS[case][1]
    write_forward(loaded.inner, copy.deepcopy(loaded.inner.written_graph))
    check(dataclasses.replace(found, small=loaded), IMAGE)
    found.small.read = loaded.read
    with pytest.raises(SurgeryError, match=r"the code of inner was taken over for a call with \['more', 'unused'\]"):
        found.small(IMAGE, other=3)


class Shares(nn.Module):
    """Reads several results of its inner module, one of which loses units in one call only."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Conv2d(3, 16, 1), nn.Conv2d(3, 16, 1), nn.Conv2d(16, 4, 1)
        self.inner = Code(lambda m, x: x.view(-1, 16, 6, 6) * 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(self.inner(self.first(x))) + self.inner(self.second(x).softmax(1)).mean()
        return out


def test_calls_that_lose_other_units_are_refused() -> None:
    with pytest.raises(CodeError, match="it keeps other units in one of its calls than in another"):
        take_over(Shares(), IMAGE)


def forces(m: Any, x: Tensor) -> Tensor:
    with torch.enable_grad():
        return m.one(x.view(-1, 16, 6, 6))


REFUSED: dict[str, tuple[nn.Module, str]] = {
    "one number of samples only": (
        around(Code(lambda m, x: x.view(int(x.shape[0]), 16, 6, 6)))[0], "one number of samples",
    ),
    "gradients": (
        around(Code(forces, one=nn.Conv2d(16, 16, 1)))[0], "it turns gradients on in a part of it",
    ),
    "every second channel": (
        around(Code(lambda m, x: m.one(x[:, ::2]), one=nn.Conv2d(8, 16, 1)))[0], "every 2th unit",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", list(REFUSED))
def test_code_that_cannot_be_taken_over_says_so(case: str) -> None:
    model, reason = REFUSED[case]
    with pytest.raises(CodeError, match=reason) as caught:
        take_over(model, IMAGE)
    assert list(caught.value.reasons) == ["inner"]
    assert "inner" in str(caught.value)


class SelfAttention(nn.Module):
    """PyTorch's own attention, which asks whether its queries are its keys, over the patches of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.head = nn.Conv2d(3, 32, 4, 4), nn.Linear(32, 5)
        self.attention = nn.MultiheadAttention(32, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).mT
        x = x + self.attention(x, x, x, need_weights=False)[0]
        out: Tensor = self.head(x.mean(1))
        return out


def test_what_is_passed_as_one_tensor_is_taken_over_as_one() -> None:
    model, x = SelfAttention().eval(), torch.randn(2, 3, 16, 16)
    groups = find_groups(model, x)
    found = [(group.kind, group.units) for group in groups]
    assert found == [("width", 32), ("head", 4), ("qk_dim", 32), ("v_dim", 32)]
    small = prune(model, plan_from_kept(groups, {"attention.heads": [0, 3]}), groups)
    tokens = torch.randn(2, 7, 32)
    small.attention(tokens, tokens, tokens, need_weights=False)
    with pytest.raises(SurgeryError, match="attention was taken over for one tensor as query and key, got two"):
        small.attention(tokens, tokens.clone(), tokens, need_weights=False)
