"""Operations whose arguments repeat sizes, rewritten: they run on what is left, and say when they cannot."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.pipeline.structure.codegen.calls import CodeError
from secateur.pipeline.structure.codegen.resized_ops import resized
from secateur.pipeline.structure.codegen.sizes import RemainingSizes
from secateur.pipeline.structure.find import find_fixed
from secateur.pipeline.structure.graph.components import components_of
from secateur.pipeline.structure.graph.program import operation_of
from secateur.pipeline.structure.graph.trace import Trace
from secateur.pipeline.structure.graph.tracer import trace_model


class Function(nn.Module):
    """A function of a tensor that a parameter of one dimension is expanded to, so that each position has a label."""

    def __init__(self, function: Callable[[Tensor], Any], *shape: int, dim: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.rand(shape[dim]))
        self.function, self.shape, self.dim = function, shape, dim

    def forward(self, x: Tensor) -> Any:
        scale = self.scale.reshape([-1 if dim == self.dim else 1 for dim in range(len(self.shape))])
        return self.function(scale.expand(self.shape))


def traced(function: Callable[[Tensor], Any], *shape: int, dim: int, gone: list[int]) -> tuple[Trace, RemainingSizes]:
    """The trace of a function of a tensor, and the sizes without some positions of a dimension."""
    trace = trace_model(Function(function, *shape, dim=dim), torch.randn(1, *shape[1:]))
    found = components_of(trace)
    alive = torch.ones(int(found.of_label.max()) + 1, dtype=torch.bool)
    alive[torch.from_numpy(found.at["scale", 0][gone])] = False
    return trace, RemainingSizes("here", trace.values, found.of_label, alive)


def changed(function: Callable[[Tensor], Any], *shape: int, dim: int, gone: list[int]) -> dict[str, list[Any]]:
    """The arguments, nodes and what is left out aside, of all operations of the function that change."""
    trace, sizes = traced(function, *shape, dim=dim, gone=gone)
    result = {}
    for node in trace.values:
        new = resized(sizes, node) if node.op == "call_function" else None
        if new is not None and node.target is not torch.ops.aten.expand.default:
            arguments = [arg for arg in new.args if isinstance(arg, (int, list)) and not isinstance(arg, bool)]
            result[str(new.target).split(".")[1]] = [*arguments, *new.kwargs.values()]
    return result


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: x.view(2, 3, 4), {"view": [[2, 3, 2]]}),
        (lambda x: x.reshape(2, 3, -1), {}),
        (lambda x: x.unflatten(1, (3, 4)), {"unflatten": [1, [3, 2]]}),
        (lambda x: x.unflatten(-1, (4, 3)), {}),
        (lambda x: x.split(4, 1), {"split_with_sizes": [[2, 2, 2], 1]}),
        (lambda x: x.split((8, 4), dim=-1), {"split_with_sizes": [[4, 2], 1]}),
        (lambda x: x.chunk(3, 1), {"split_with_sizes": [[2, 2, 2], 1]}),
        (lambda x: x[:, 4:8], {"slice": [1, 2, 4]}),
        (lambda x: x[:, -4:], {"slice": [1, 4, 6]}),
        (lambda x: x.narrow(1, 8, 4), {"narrow": [1, 4, 2]}),
        (lambda x: x.tensor_split((4, 6), 1), {"split_with_sizes": [[2, 1, 3], 1]}),
        (lambda x: x.select(1, 8), {"select": [1, 4]}),
        (lambda x: x[:1], {}),
        (lambda x: F.layer_norm(x, (12,)), {"layer_norm": [[6]]}),
        (lambda x: F.rms_norm(x, (12,)), {"rms_norm": [[6]]}),
        (lambda x: x.relu() + 1, {}),
    ],
)
def test_arguments_repeat_what_is_left(function: Callable[[Tensor], Any], expected: dict[str, list[Any]]) -> None:
    """Of three times four features the middle two of each four go."""
    gone = [1, 2, 5, 6, 9, 10]
    if expected == {} and "unflatten" in function.__code__.co_names:
        gone = [0, 1, 2, 6, 7, 8]  # two of the four rows
        expected = {"unflatten": [-1, [2, 3]]}
    assert changed(function, 2, 12, dim=1, gone=gone) == expected


def test_groups_that_go_as_a_whole_are_counted() -> None:
    assert changed(lambda x: F.group_norm(x, 4), 2, 12, 3, dim=1, gone=[0, 1, 2, 6, 7, 8]) == {"group_norm": [2]}
    assert changed(lambda x: F.group_norm(x, 1), 2, 12, 3, dim=1, gone=[0, 5]) == {}


def test_the_scale_of_attention_is_that_of_the_dense_model() -> None:
    def attend(x: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(x, x, torch.ones(2, 3, 5, 4))

    assert changed(attend, 2, 3, 5, 16, dim=3, gone=[0, 1])["scaled_dot_product_attention"] == [0.25]
    assert changed(lambda x: F.scaled_dot_product_attention(x, x, x, scale=0.5), 2, 3, 5, 16, dim=3, gone=[0]) == {}
    assert changed(attend, 2, 3, 5, 16, dim=3, gone=[]) == {}


def test_steps_and_heads_that_differ_are_refused() -> None:
    with pytest.raises(CodeError, match="every 2th unit"):
        changed(lambda x: x[:, ::2], 2, 12, dim=1, gone=[1])
    with pytest.raises(CodeError, match="every 2th unit"):
        changed(lambda x: x[:, 2::2], 2, 12, dim=1, gone=[0, 1])
    assert changed(lambda x: x[:, 1::2], 2, 12, dim=1, gone=[0, 1, 6, 7]) == {}
    with pytest.raises(CodeError, match="one width only"):
        changed(lambda x: x.view(2, 3, 4), 2, 12, dim=1, gone=[1])
    with pytest.raises(CodeError, match="differs from head to head"):
        changed(lambda x: x.unflatten(1, (3, 4))[:, :, 1:], 2, 12, dim=1, gone=[0, 5, 8])


def test_a_view_as_another_type_has_no_size() -> None:
    assert changed(lambda x: x.view(torch.int32), 2, 12, dim=1, gone=[1]) == {}


def test_a_part_without_units_stays_a_part() -> None:
    trace, sizes = traced(lambda x: x.split((4, 8), 1), 2, 12, dim=1, gone=[0, 1, 2, 3])
    node = next(node for node in trace.values if operation_of(node).startswith("split"))
    new = resized(sizes, node)
    assert new is not None and new.args[1] == [0, 8]
    parts = [value for node, value in trace.values.items() if node.target is operator.getitem]
    assert [sizes.of(part) for part in parts] == [[2, 0], [2, 8]]
    assert np.prod([2, 12]) == 2 * 12


class EachSample(nn.Module):
    """A convolution by a kernel of each sample's own, mixed of two (CondConv)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.gate, self.last = nn.Conv2d(3, 4, 1), nn.Linear(4, 2), nn.Linear(6, 3)
        self.kernels = nn.Parameter(torch.randn(2, 6, 4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        kernels = (self.gate(x.mean((2, 3))) @ self.kernels.flatten(1)).view(len(x) * 6, 4, 1, 1)
        x = F.conv2d(x.flatten(0, 1)[None], kernels, groups=len(x)).view(len(x), 6, *x.shape[2:])
        out: Tensor = self.last(x.relu().mean((2, 3)))
        return out


def test_a_group_for_each_sample_is_refused_in_a_sentence() -> None:
    told = {one.units: one.reason for one in find_fixed(EachSample(), torch.randn(1, 3, 4, 4))}
    assert "its convolution has as many groups as there are samples" in told[6]


class OfAllSamples(nn.Module):
    """Features of all samples in one row, of which some are taken."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 12)

    def forward(self, x: Tensor) -> Tensor:
        row = self.first(x).flatten()
        return row[:] + row[:1]


def test_positions_among_the_units_of_all_samples_are_refused() -> None:
    trace = trace_model(OfAllSamples(), torch.randn(1, 3))
    found = components_of(trace)
    alive = torch.ones(int(found.of_label.max()) + 1, dtype=torch.bool)
    alive[torch.from_numpy(found.at["first.weight", 0][[3, 4]])] = False
    sizes = RemainingSizes("here", trace.values, found.of_label, alive)
    everything, first = (node for node in trace.values if operation_of(node) == "slice")
    assert resized(sizes, everything) is None
    with pytest.raises(CodeError, match="units of all samples"):
        resized(sizes, first)
