"""How modules are called: recorded by shape, in evaluation mode, with nothing left behind."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from secateur.core.errors import SurgeryError
from secateur.pipeline.structure.codegen.calls import (
    CodeError,
    RecordedCall,
    is_plain,
    record_all,
    record_calls,
    recorded,
)


class Inner(nn.Module):
    def forward(self, x: Tensor, scale: float = 1.0, *, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x * scale, x if mask is None else x * mask


class Outer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.linear = Inner(), nn.Linear(3, 3)
        self.same = self.linear

    def forward(self, x: Tensor) -> Tensor:
        one, _ = self.inner(x, 2.0)
        two, _ = self.inner(self.linear(one), mask=x > 0)
        out: Tensor = two
        return out


def test_calls_are_recorded_with_all_that_is_passed_and_returned() -> None:
    model = Outer().train()
    model.linear.eval()
    calls = record_calls(model, torch.randn(2, 3))
    assert set(calls) == {"", "inner", "linear", "same"}
    first, second = calls["inner"]
    assert [tuple(leaf.shape) if isinstance(leaf, Tensor) else leaf for leaf in first.args] == [(2, 3), 2.0]
    assert first.kwargs == {} and second.kwargs["mask"].dtype == torch.bool
    assert [tuple(leaf.shape) for leaf in second.result] == [(2, 3), (2, 3)]
    leaves: list[Any] = [*first.args, *second.kwargs.values(), *second.result]
    assert all(leaf.device.type == "meta" for leaf in leaves if isinstance(leaf, Tensor)), "only the shapes are kept"


def test_a_model_is_left_as_it_was() -> None:
    model = Outer().train()
    model.linear.eval()
    record_calls(model, torch.randn(2, 3))
    assert [module.training for module in (model, model.inner, model.linear)] == [True, True, False]
    assert not any(module._forward_hooks for module in model.modules())
    with pytest.raises(RuntimeError), recorded(model, ["linear"]):
        model(torch.randn(2, 4))
    assert not any(module._forward_hooks for module in model.modules())


X, Y = torch.empty(2, 3), torch.empty(2, 3)


@pytest.mark.parametrize(
    ("call", "plain"),
    [
        (RecordedCall((X,), {}, X), True),
        (RecordedCall((X, 2), {"mask": None}, (X, None)), True),
        (RecordedCall((), {"x": [X, X]}, {"found": X}), True),
        (RecordedCall((X,), {"mask": Y}, X), False),
        (RecordedCall((X, object()), {}, X), False),
        (RecordedCall((2,), {}, X), False),
        (RecordedCall((X,), {}, (X, X)), False),
    ],
)
def test_a_plain_call_has_one_tensor_in_and_one_out(call: RecordedCall, plain: bool) -> None:
    assert is_plain(call) == plain


def test_other_leaves_take_the_places_of_a_calls_own() -> None:
    found = RecordedCall((X, [2, X]), {"mask": {"a": X}}, X)
    assert found.leaves == [X, 2, X, X] and found.firsts == (0, 1, 0, 0)
    assert found.with_leaves("abcd") == (("a", ["b", "c"]), {"mask": {"a": "d"}})


def test_the_error_names_all_modules_that_are_concerned() -> None:
    error = CodeError("blocks.0", "it is odd", [CodeError("blocks.1", "it is even")])
    assert isinstance(error, SurgeryError)
    assert error.reasons == {"blocks.0": "it is odd", "blocks.1": "it is even"} and error.reason == "it is odd"
    assert (
        str(CodeError("", "it is odd")) == "the code of the model itself cannot be taken over from the graph: it is odd"
    )
    assert str(error) == "the code of blocks.0 cannot be taken over from the graph: it is odd"


class Sized(nn.Module):
    """Called with tokens, their number along each side, and numbers that never change."""

    def __init__(self, only: int = 0) -> None:
        super().__init__()
        self.patch, self.inner, self.only = nn.Conv2d(3, 4, 2, 2), Tokens(), only

    def forward(self, x: Tensor) -> Tensor:
        if self.only and x.shape[-1] != self.only:
            raise ValueError("another size")
        x = self.patch(x)
        out: Tensor = self.inner(x.flatten(2).mT, x.shape[2:], torch.ones(4), flag=True)
        return out


class Tokens(nn.Module):
    def forward(self, x: Tensor, sides: Any, scale: Tensor, flag: bool) -> Tensor:
        return x * scale


def test_which_lengths_follow_the_samples_is_seen_by_calling_again() -> None:
    calls = record_all(Sized(), torch.zeros(2, 3, 8, 8))
    none, first, second = frozenset[int](), frozenset({0}), frozenset({1})
    assert calls.by_samples("inner") == (first, none, none, none, none)
    assert calls.by_size("inner") == (second, first, first, none, none)
    assert calls.by_size("patch") == (frozenset({2, 3}),)


class Scales(nn.Module):
    """Runs one module on maps of two sizes, with and without a mask."""

    def __init__(self, masked: bool) -> None:
        super().__init__()
        self.inner, self.masked = Inner(), masked

    def forward(self, x: Tensor) -> Tensor:
        small = x[..., ::2]
        out: Tensor = (
            self.inner(x)[0].mean() + self.inner(small, **({"mask": small > 0} if self.masked else {}))[0].mean()
        )
        return x * out


def test_lengths_that_differ_from_call_to_call_are_open_too() -> None:
    none = frozenset[int]()
    assert record_all(Scales(False), torch.zeros(2, 3, 8)).by_size("inner") == (frozenset({1, 2}),)
    assert record_all(Scales(True), torch.zeros(2, 3, 8)).by_size("inner") == (none,)


def test_a_model_of_one_size_has_no_larger_call() -> None:
    calls = record_all(Sized(only=8), torch.zeros(2, 3, 8, 8))
    assert calls.larger == {} and set(calls.by_size("inner")) == {frozenset()}
    assert calls.by_samples("patch") == (frozenset({0}),)


def test_tokens_grow_in_number_and_features_do_not() -> None:
    calls = record_all(nn.Sequential(nn.Linear(4, 4)), torch.zeros(2, 5, 4))
    assert calls.by_size("0") == (frozenset({1}),)
    assert record_all(nn.Sequential(nn.Linear(4, 4)), torch.zeros(2, 4)).larger == {}
