"""Code that was taken over refuses calls that it was not written for, in one sentence."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import fx

from secateur.core.errors import SurgeryError
from secateur.pipeline.structure.codegen.conditions import by_mode, check_arguments, check_mode, check_names

X = torch.zeros(2, 49, 8)


def check(inputs: dict[str, Any], others: dict[str, Any] | None = None, **conditions: Any) -> None:
    parts = {"lengths": (), "constants": (), "guards": (), "samples": (("x", 2),)}
    check_arguments("inner", inputs, others or {}, **{**parts, **conditions})


def test_lengths_have_to_be_those_of_the_call_that_was_taken_over() -> None:
    check({"x": X}, lengths=(("x", 1, 49),))
    with pytest.raises(SurgeryError, match=r"inner was taken .* 49 along dimension 1, got \(2, 36, 8\)"):
        check({"x": X[:, :36]}, lengths=(("x", 1, 49),))


def test_a_check_is_a_step_of_a_graph_that_fx_traces() -> None:
    def doubled(x: torch.Tensor) -> torch.Tensor:
        check({"x": x}, lengths=(("x", 1, 49),), guards=("L['inputs'][0].size()[1] % 7 == 0",))
        return x * 2

    graph = fx.symbolic_trace(doubled)
    assert torch.equal(graph(X), X * 2)
    with pytest.raises(SurgeryError, match=r"inner was taken .* 49 along dimension 1"):
        graph(X[:, :36])


@pytest.mark.parametrize(("passed", "fine"), [(None, True), (X, False), (3, False)])
def test_what_is_no_tensor_has_to_be_the_same(passed: Any, fine: bool) -> None:
    if fine:
        check({}, {"mask": passed}, constants=(("mask", None),))
    else:
        with pytest.raises(SurgeryError, match="for mask = None, got"):
            check({}, {"mask": passed}, constants=(("mask", None),))


def test_torchs_own_conditions_hold_or_are_told() -> None:
    check({"x": X}, guards=("L['inputs'][0].size()[1] % 7 == 0",))
    check({"x": X, "pair[0]": X}, guards=("L['inputs'][0].size()[1] == L['inputs'][1].size()[1]",), samples=())
    with pytest.raises(SurgeryError, match="another way for this"):
        check({"x": X[:, :9]}, guards=("L['inputs'][0].size()[1] % 7 == 0",))
    check({"h": 7, "x": X}, guards=("L['inputs'][0] * L['inputs'][0] == L['inputs'][1].size()[1]",))


@pytest.mark.filterwarnings("ignore")  # traces say that they are going out of use
def test_torchs_own_conditions_are_asked_of_numbers_while_a_call_is_traced() -> None:
    class Guarded(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            count = x.size(1)  # a tensor in a trace
            guard = "L['inputs'][0].size()[1] != torch.sym_max(1, L['inputs'][1] // 7)"
            check({"x": x, "count": count}, guards=(guard,))
            return x + count

    assert torch.jit.trace(Guarded(), X, check_trace=False)(X).shape == X.shape


def test_conditions_on_the_number_of_samples_alone_are_let_go() -> None:
    guard = "L['inputs'][0].size()[0] != 1"
    check({"x": X[:1]}, guards=(guard,))
    both = "49 * L['inputs'][0].size()[0] == L['inputs'][0].size()[1] * L['inputs'][0].size()[0]"
    check({"x": X[:1]}, guards=(both,))
    with pytest.raises(SurgeryError, match="another way"):
        check({"x": X[:1, :36]}, guards=(both,))


@pytest.mark.parametrize(
    ("passed", "names", "fine"),
    [
        ({"b": 1, "a": 2}, ("a", "b"), True),
        ({"a": 1}, ("a", "b"), False),
        ({"a": 1, "c": 2}, ("a",), False),
        ((X, X), (0, 1), True),
        ((), (0,), False),
    ],
)
def test_what_has_no_parameter_of_its_own_has_to_be_there(passed: Any, names: Any, fine: bool) -> None:
    if fine:
        check_names("inner", "more", passed, names)
    else:
        with pytest.raises(SurgeryError, match=r"the code of inner was taken over for a call with .* in more, got"):
            check_names("inner", "more", passed, names)


def test_modes() -> None:
    check_mode("inner", False)
    with pytest.raises(SurgeryError, match="the code of inner does something else in training"):
        check_mode("inner", True)
    with pytest.raises(SurgeryError, match="the code of the model itself does something else"):
        check_mode("", True)
    assert (by_mode(True, 0.3, 0.0), by_mode(False, 0.3, 0.0)) == (0.3, 0.0)


def test_what_another_argument_would_change_is_left_to_the_comparison_of_what_is_exported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """transformers give their attention a mask of ones when they are traced, and none when they run."""
    given = {"mask": torch.ones(2)}
    with pytest.raises(SurgeryError, match="taken over for mask = None"):
        check_arguments("attention", {}, given, (), (("mask", None),), (), ())
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    check_arguments("attention", {}, given, (), (("mask", None),), (), ())


def test_an_exported_model_knows_which_inputs_have_as_many_samples() -> None:
    class Two(torch.nn.Module):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            check({"x": x, "y": y}, guards=("L['inputs'][0].size()[0] == L['inputs'][1].size()[0]",))
            return x + 1, y + 1

    batch = {0: torch.export.Dim.DYNAMIC}
    program = torch.export.export(Two(), (X, X + 1), dynamic_shapes=(batch, batch), strict=False)
    one, two = (node.meta["val"].shape[0] for node in program.graph.find_nodes(op="placeholder"))
    assert str(one) == str(two)
