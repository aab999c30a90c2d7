"""A trace: labels of parameters, roles of their dimensions, what is normalised, the heads."""

from __future__ import annotations

import torch
from torch import fx

from secateur.pipeline.structure.graph.trace import Trace
from secateur.pipeline.structure.graph.value import Value, moved


def test_each_dimension_of_a_parameter_has_labels_of_its_own() -> None:
    trace = Trace()
    value = trace.parameter("weight", torch.zeros(3, 1, 2))
    assert value.shape == (3, 1, 2) and not value.computed
    assert [tuple(labels.shape) for labels in value.maps] == [(3, 1, 1), (1, 1, 2)]
    rows, none, columns = trace.tensors["weight"]
    assert rows is not None and none is None and columns is not None
    assert len({*rows.tolist(), *columns.tolist()}) == 5
    again = trace.parameter("weight", torch.zeros(3, 1, 2))
    assert all(torch.equal(one, two) for one, two in zip(value.maps, again.maps, strict=True))


def test_whole_numbers_have_no_labels_but_are_kept() -> None:
    trace = Trace()
    index = torch.tensor([2, 0, 1])
    value = trace.parameter("index", index)
    assert value.maps == () and value.data is index
    assert trace.tensors == {}


def test_what_is_both_read_and_made_is_tied_however_the_parameter_is_moved() -> None:
    trace, graph = Trace(), fx.Graph()
    node = graph.placeholder("p")
    turned = graph.call_function(torch.ops.aten.transpose.int, (node, 0, 1))
    computed = graph.call_function(torch.ops.aten.relu.default, (node,))
    trace.values[node] = trace.parameter("weight", torch.zeros(3, 4))
    trace.values[computed] = trace.parameter("weight", torch.zeros(3, 4))
    trace.role(node, 0, "in")
    assert trace.roles == {}, "the node stands for no parameter"
    trace.names[node] = "weight"
    trace.values[turned] = moved(trace.values[node], lambda x: x.T)
    trace.role(node, 0, "out")
    trace.role(node, 0, "out")
    trace.role(turned, 0, "in")
    trace.role(computed, 0, "in")
    trace.role(None, 1, "in")
    assert trace.roles == {("weight", 0): "out", ("weight", 1): "in"}
    trace.role(turned, 1, "in")
    assert trace.roles == {("weight", 0): "tied", ("weight", 1): "in"}


def test_only_modules_that_normalise_may_take_statistics_over_fewer_units() -> None:
    trace, entry = Trace(), fx.Graph().placeholder("x")
    one, two = trace.coupling.fresh(3).reshape(1, 3, 1), trace.coupling.fresh(3)
    trace.entries["block.norm"] = [entry]
    trace.values[entry] = Value((2, 3, 4), (one,), None, True)
    assert trace.normalises("block.norm.inner") == "block.norm" and trace.normalises("block") is None
    trace.normalised("block.norm.inner", one.movedim(1, 2), {2})
    trace.normalised("block", two, {0})
    assert not trace.coupling.all_fixed(one) and trace.coupling.all_fixed(two)
    assert [(name, dim, labels.tolist()) for name, (dim, labels) in trace.norms.items()] == [
        ("block.norm", 1, [[1, 2, 3]])
    ]
    assert trace.coupling.marked("norm", trace.coupling.components()) == set(trace.coupling.components()[1:4].tolist())


def test_a_norm_over_units_that_are_not_in_its_input_keeps_them() -> None:
    trace, entry = Trace(), fx.Graph().placeholder("x")
    trace.entries["norm"] = [entry]
    trace.values[entry] = Value((2, 3), (trace.coupling.fresh(3).reshape(1, 3),), None, True)
    other = trace.coupling.fresh(3)
    trace.normalised("norm", other, {0})
    assert trace.coupling.all_fixed(other) and not trace.norms


def test_a_norm_of_each_head_has_the_same_units_in_all_heads() -> None:
    trace, entry = Trace(), fx.Graph().placeholder("x")
    labels = trace.coupling.fresh(6).reshape(1, 2, 1, 3)
    trace.entries["norm"] = [entry]
    trace.values[entry] = Value((2, 2, 5, 3), (labels,), None, True)
    trace.normalised("norm", labels, {3})
    dim, found = trace.norms["norm"]
    assert (dim, found.tolist()) == (3, [[1, 2, 3], [4, 5, 6]])
    components = trace.coupling.components()[labels].reshape(2, 3).tolist()
    assert components[0] == components[1] and len(set(components[0])) == 3


def test_heads_are_rows_of_their_dimensions() -> None:
    trace = Trace()
    labels = trace.coupling.fresh(6).reshape(1, 3, 1, 2)  # two heads of three dimensions
    trace.attends(labels, 1, "query_key")
    assert trace.heads[0].tolist() == [[1, 3, 5], [2, 4, 6]]
    components = trace.coupling.components()
    assert trace.coupling.marked("query_key", components) == set(components[1:].tolist())
