"""Nests: their leaves in order, and nests of the same kind with other leaves, whatever holds them."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict, defaultdict
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutput

from secateur.pipeline.structure.codegen.nested import holds_tensors, leaves_of, leaves_with_keys, path, refilled


class Named(NamedTuple):
    one: Any
    two: Any = None


@dataclasses.dataclass
class Data:
    one: Any
    number: int = 0
    two: Any = None


@dataclasses.dataclass
class Derived:
    """Makes a field of its own, so that it is no nest."""

    one: Any
    two: Any = dataclasses.field(init=False, default=1)


class Held:
    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


DEFAULTS = defaultdict(int, x=3)
NESTS: dict[str, tuple[Any, list[Any]]] = {
    "a leaf": ("a", ["a"]),
    "a tuple": (("a", ("b", "c")), ["a", "b", "c"]),
    "a list": (["a", []], ["a"]),
    "a dictionary": ({"x": "a", 3: "b"}, ["a", "b"]),
    "an ordered dictionary": (OrderedDict(x="a", y="b"), ["a", "b"]),
    "a named tuple": (Named("a", ["b"]), ["a", "b"]),
    "a dataclass": (Data("a", 2, Data("b")), ["a", 2, "b", 0, None]),
    "an output of transformers": (BaseModelOutput(torch.ones(1), ("b",)), [torch.ones(1), "b"]),  # type: ignore[arg-type]
    "sizes": (torch.Size([2, 3]), [2, 3]),
    "what torch returns": (torch.return_types.max(["a", "b"]), ["a", "b"]),  # type: ignore[operator]
    "a dataclass with fields of its own": (Derived("a"), [Derived("a")]),
    "a class": (Data, [Data]),
    "a dictionary with defaults": (DEFAULTS, [DEFAULTS]),
}


@pytest.mark.parametrize("case", list(NESTS))
def test_a_nest_is_made_anew_from_its_leaves(case: str) -> None:
    nest, leaves = NESTS[case]
    assert leaves_of(nest) == leaves
    for keys, leaf in leaves_with_keys(nest):
        found = nest
        for key in keys:
            found = key.get(found)
        assert found is leaf
    found = refilled(nest, iter(leaves))
    assert type(found) is type(nest) and found == nest
    other = refilled(nest, iter(range(10, 10 + len(leaves))))
    assert leaves_of(other) == list(range(10, 10 + len(leaves)))


def test_classes_are_called_by_the_one_who_makes() -> None:
    calls = []

    def make(kind: Any, args: Any, kwargs: Any) -> Any:
        calls.append((kind, args, kwargs))
        return kind.__name__

    found = refilled((Data("a"), [Named("b")], {"x": "c"}), iter("vwxyz12"), make)
    assert found == ("Data", ["Named"], {"x": "1"})
    assert calls == [(Data, (), {"one": "v", "number": "w", "two": "x"}), (Named, ("y", "z"), {})]


def test_keys_are_written_as_in_python() -> None:
    assert [path(keys) for keys, _ in leaves_with_keys([{"x": Data("a")}])] == [
        "[0]['x'].one", "[0]['x'].number", "[0]['x'].two",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("leaf", "expected"),
    [(Held(torch.ones(1)), True), (Held(3), False), (torch.ones(1), False), (3, False)],  # type: ignore[arg-type]
)
def test_objects_that_hold_tensors_are_known(leaf: Any, expected: bool) -> None:
    assert holds_tensors(leaf) == expected
