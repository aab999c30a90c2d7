"""Rules: one for an operation, its in-place form included; what a call says of its arguments and its result."""

from __future__ import annotations

import pytest
import torch
from torch import fx

from secateur.pipeline.structure.graph.op_rules import RULES, TABLES
from secateur.pipeline.structure.graph.rules import Call, Result, Rules, leaves, traced_result
from secateur.pipeline.structure.graph.trace import Trace
from secateur.pipeline.structure.graph.value import Value


def one(_trace: Trace, _call: Call) -> Result:
    return ()


def other(_trace: Trace, _call: Call) -> Result:
    return ()


def call(*args: object, shape: tuple[int, ...] = (2, 3), parts: int = 0, **kwargs: object) -> Call:
    """A call of an operation whose result or results have a shape."""
    node = fx.Graph().call_function(torch.relu, ())
    made = torch.empty(shape)
    node.meta["val"] = tuple(made for _ in range(parts)) if parts else made
    return Call("relu", "here", torch.relu, args, kwargs, node)


def test_an_operation_and_its_in_place_form_have_one_rule() -> None:
    rules = Rules()
    assert rules.rule("add", "sub")(one) is one
    assert rules.find("add") is rules.find("add_") is rules.find("sub") is one
    assert rules.find("mul") is None
    assert sorted(rules) == ["add", "sub"]


def test_a_second_rule_for_an_operation_is_refused() -> None:
    rules, more = Rules(), Rules()
    rules.rule("add")(one)
    with pytest.raises(ValueError, match="'add' has two rules"):
        rules.rule("mul", "add")(other)
    more.rule("add")(other)
    with pytest.raises(ValueError, match="'add' has two rules"):
        rules.include(more)
    assert rules.find("add") is one


def test_the_rules_of_all_tables_are_in_one() -> None:
    every = [name for table in TABLES for name in table.RULES]
    assert sorted(every) == sorted(RULES)
    assert {"add", "mean", "layer_norm", "pixel_shuffle", "reshape", "cat", "linear", "conv2d"} <= set(RULES)


def test_arguments_are_found_by_place_or_name() -> None:
    found = call(1, 2, dim=3)
    assert (found.get(1, "other"), found.get(2, "dim"), found.get(3, "keepdim", False)) == (2, 3, False)


def test_all_tensors_among_the_arguments_are_found() -> None:
    a, b, c = Value((1,)), Value((2,)), Value((3,))
    assert call(a, [b, 5], out=c).values() == [a, b, c]
    assert leaves((1, [2, {"x": (3,)}])) == [1, 2, 3]


def test_a_result_has_the_traced_shape_and_the_maps_that_are_given() -> None:
    labels = torch.arange(1, 4).reshape(1, 3)
    single = traced_result(call(), [labels])
    assert isinstance(single, Value)
    assert single.shape == (2, 3) and single.maps == (labels,) and single.computed
    several = traced_result(call(parts=2), computed=False)
    assert isinstance(several, tuple)
    assert [(value.shape, value.maps, value.computed) for value in several] == [((2, 3), (), False)] * 2
    assert call(parts=2).shape == call().shape == (2, 3)
