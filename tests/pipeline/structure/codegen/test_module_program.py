"""A module's program: what the whole model's trace says of each value of the module's own graph."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.pipeline.structure.codegen.calls import CodeError, record_all
from secateur.pipeline.structure.codegen.module_program import ModuleProgram, module_programs
from secateur.pipeline.structure.graph.program import operation_of
from secateur.pipeline.structure.graph.tracer import trace_model
from secateur.pipeline.structure.graph.value import Value
from tests.pipeline.structure.codegen.taking_over import Around, Code

EXAMPLE = torch.randn(2, 3, 6, 6)


def program_of(inner: nn.Module, name: str = "inner", around: type[Around] = Around) -> ModuleProgram:
    model = around(nn.Conv2d(3, 8, 1), inner, nn.Conv2d(8, 2, 1)).eval()
    (found,) = module_programs(trace_model(model, EXAMPLE), name, model, record_all(model, EXAMPLE))
    return found


def test_values_are_those_of_the_same_steps_in_the_whole_model() -> None:
    found = program_of(Code(lambda m, x: m.one(x.view(-1, 2, 4, 6, 6).flatten(1, 2)), one=nn.Conv2d(8, 8, 1)))
    shapes = {operation_of(node): found.values[node].shape for node in found.own.operations if node in found.values
              and isinstance(found.values[node], Value)}  # fmt: skip
    assert shapes == {"view": (2, 2, 4, 6, 6), "flatten": (2, 8, 6, 6), "conv2d": (2, 8, 6, 6)}
    (source,) = found.own.inputs.values()
    assert [len(labels.unique()) for labels in found.values[source].on(1)] == [8]
    weights = {path: node for node, path in found.own.attributes.items()}
    assert isinstance(found.values.get(weights["one.weight"], found.values[source]), Value)


def test_training_is_taken_where_its_steps_are_those_of_evaluation() -> None:
    assert program_of(Code(lambda m, x: F.dropout(x, 0.2, m.training))).own.training
    found = program_of(Code(lambda m, x: x * torch.rand(x.shape[0], 1, 1, 1) if m.training else x * 2))
    assert not found.own.training
    assert [operation_of(node) for node in found.own.operations if node in found.alignment.partners] == ["mul"]


def test_what_training_alone_cannot_do_is_no_hindrance() -> None:
    def failing(m: Any, x: Tensor) -> Tensor:
        if m.training:
            raise ValueError("not here")
        return x * 2

    assert not program_of(Code(failing)).own.training


def test_lengths_that_the_code_settles_are_fixed_but_not_those_of_units() -> None:
    found = program_of(Code(lambda m, x: x * m.map, map=nn.Parameter(torch.rand(6, 6))))
    assert list(found.fixed.values()) == [{2: 6, 3: 6}]
    (lengths,) = program_of(Code(lambda m, x: x.view(-1, 8, 6, 6) * 2)).fixed.values()
    assert lengths.keys() <= {2, 3}


class Unused(Around):
    """Never runs its inner module."""

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(self.first(x))
        return out


def untraceable(m: Any, x: Tensor) -> Tensor:
    return x * 2 if float(x.sum()) > 0 else x


@pytest.mark.parametrize(
    ("inner", "around", "reason"),
    [
        (Code(lambda m, x: x * 2), Unused, "does not run in a forward pass"),
        (Code(lambda m, x: x.view(int(x.shape[0]), 8, 6, 6)), Around, "one number of samples only"),
        (Code(lambda m, x: x.chunk(2, 1)[0].repeat(1, 2, 1, 1)), Around, ""),
    ],
)
def test_modules_that_have_no_program_say_why(inner: nn.Module, around: type[Around], reason: str) -> None:
    if not reason:
        assert program_of(inner, around=around).name == "inner"
        return
    with pytest.raises(CodeError, match=reason):
        program_of(inner, around=around)
