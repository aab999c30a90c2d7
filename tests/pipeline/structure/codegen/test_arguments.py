"""Arguments: each value that is passed is found again from the parameter that it is passed to."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import register_dataclass, tree_leaves

from secateur.pipeline.structure.codegen.arguments import by_parameter, copied, leaves_of
from secateur.pipeline.structure.codegen.calls import CodeError, RecordedCall


def function(x: Tensor, pair: Any, *, mask: Any = None, names: Any = None, unused: int = 3) -> None:
    """A signature."""


SIGNATURE = inspect.signature(function)
CALL = RecordedCall(("a", ("b", ["c", 2])), {"names": {"k": "d"}, "mask": None}, None)


def test_each_leaf_is_where_its_keys_lead() -> None:
    leaves = leaves_of("here", SIGNATURE, CALL)
    arguments = SIGNATURE.bind(*CALL.args, **CALL.kwargs).arguments
    assert [leaf.of(arguments) for leaf in leaves] == tree_leaves((CALL.args, dict(CALL.kwargs)))
    assert {leaf.parameter for leaf in leaves} == {"x", "pair", "mask", "names"}


def test_other_leaves_take_their_places() -> None:
    leaves = leaves_of("here", SIGNATURE, CALL)
    numbers = list(range(len(leaves)))
    args, kwargs = copied(CALL, numbers)
    assert tree_leaves((args, kwargs)) == numbers
    found = by_parameter(SIGNATURE, CALL, numbers)
    assert [leaf.of(found) for leaf in leaves] == numbers
    assert "unused" not in found


def test_arguments_without_names_are_refused() -> None:
    def variadic(x: Tensor, *rest: Any, **more: Any) -> None:
        """A signature."""

    signature = inspect.signature(variadic)
    assert len(leaves_of("here", signature, RecordedCall(("a",), {}, None))) == 1
    for call in (RecordedCall(("a", "b"), {}, None), RecordedCall(("a",), {"y": "b"}, None)):
        with pytest.raises(CodeError, match="have no names"):
            leaves_of("here", signature, call)


@dataclass
class Held:
    inner: Any


register_dataclass(Held)


def test_objects_that_hold_tensors_are_refused() -> None:
    with pytest.raises(CodeError, match="argument pair is an object"):
        leaves_of("here", SIGNATURE, RecordedCall((torch.zeros(1), Held(torch.zeros(1))), {}, None))
