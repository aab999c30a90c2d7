"""How modules are called: recorded by shape, in evaluation mode, with nothing left behind."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from secateur.core.errors import SurgeryError
from secateur.pipeline.structure.codegen.calls import CodeError, RecordedCall, is_plain, record_calls, recorded


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


X = torch.empty(2, 3)


@pytest.mark.parametrize(
    ("call", "plain"),
    [
        (RecordedCall((X,), {}, X), True),
        (RecordedCall((X,), {"mask": None}, X), True),
        (RecordedCall((X,), {"mask": X}, X), False),
        (RecordedCall((X, 2), {}, X), False),
        (RecordedCall((2,), {}, X), False),
        (RecordedCall((X,), {}, (X,)), False),
        (RecordedCall((), {"x": X}, X), False),
    ],
)
def test_a_plain_call_has_one_tensor_in_and_one_out(call: RecordedCall, plain: bool) -> None:
    assert is_plain(call) == plain


def test_the_error_names_all_modules_that_are_concerned() -> None:
    error = CodeError("blocks.0", "it is odd", ("blocks.1",))
    assert isinstance(error, SurgeryError)
    assert error.modules == ("blocks.0", "blocks.1") and error.reason == "it is odd"
    assert str(error) == "the code of blocks.0 cannot be taken over from the graph: it is odd"
