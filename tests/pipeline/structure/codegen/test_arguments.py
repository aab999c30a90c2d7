"""Arguments: each value that is passed is found again from the parameter that it is passed to."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from secateur.pipeline.structure.codegen.arguments import argument_leaves
from secateur.pipeline.structure.codegen.calls import CodeError, RecordedCall


@dataclass
class Held:
    inner: Any


class Hidden:
    """No nest."""

    def __init__(self) -> None:
        self.tensor = torch.zeros(1)


def function(
    x: Tensor, pair: Any, *rest: Any, mask: Any = None, names: Any = None, unused: int = 3, **more: Any
) -> None:
    """A signature."""


SIGNATURE = inspect.signature(function)
CALL = RecordedCall(
    ("a", ("b", ["c", 2]), "e", Held("f")), {"more": "g", "names": {"k": "d"}, "other": ["h"], "mask": None}, None
)


def test_each_leaf_is_where_its_keys_lead() -> None:
    leaves = argument_leaves("here", SIGNATURE, CALL)
    arguments = SIGNATURE.bind(*CALL.args, **CALL.kwargs).arguments
    assert [leaf.of(arguments) for leaf in leaves] == CALL.leaves == ["a", "b", "c", 2, "e", "f", "g", "d", "h", None]
    assert [str(leaf) for leaf in leaves] == [
        "x", "pair[0]", "pair[1][0]", "pair[1][1]", "rest[0]", "rest[1].inner",
        "more['more']", "names['k']", "more['other'][0]", "mask",
    ]  # fmt: skip


def test_objects_that_hold_tensors_are_refused() -> None:
    with pytest.raises(CodeError, match=r"the code of here .* its argument pair is a Hidden that holds tensors"):
        argument_leaves("here", SIGNATURE, RecordedCall((torch.zeros(1), Hidden()), {}, None))
