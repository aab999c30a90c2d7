"""The arguments of a forward function: which parameter, and which place in it, each of the values passed belongs to."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch.utils._pytree import MappingKey, SequenceKey

from secateur.pipeline.structure.codegen.calls import CodeError, RecordedCall
from secateur.pipeline.structure.codegen.nested import Key, holds_tensors, leaves_with_keys, path


@dataclass(frozen=True)
class Leaf:
    """A value that is passed to a function: the parameter's name, and the keys that lead to it in what is passed."""

    parameter: str
    keys: tuple[Key, ...] = ()

    def __str__(self) -> str:
        return self.parameter + path(self.keys)

    def of(self, arguments: Mapping[str, Any]) -> Any:
        """The value among the arguments by parameter."""
        found = arguments[self.parameter]
        for key in self.keys:
            found = key.get(found)
        return found


def argument_leaves(module: str, signature: inspect.Signature, call: RecordedCall) -> list[Leaf]:
    """For each leaf of a call's arguments where the function finds it; `*args` and `**kwargs` are parameters, too.

    Raises `CodeError`, naming the `module`, for tensors in an object that is no dataclass.
    """
    args = [("args", place) for place in range(len(call.args))]
    kwargs = {name: ("kwargs", name) for name in call.kwargs}
    owners: dict[Any, Leaf] = {}
    for name, passed in signature.bind(*args, **kwargs).arguments.items():
        kind = signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            owners.update({place: Leaf(name, (SequenceKey(number),)) for number, place in enumerate(passed)})
        elif kind is inspect.Parameter.VAR_KEYWORD:
            owners.update({place: Leaf(name, (MappingKey(word),)) for word, place in passed.items()})
        else:
            owners[passed] = Leaf(name)
    found: list[Leaf] = []
    places = [(("args", place), value) for place, value in enumerate(call.args)]
    for place, value in [*places, *((("kwargs", name), value) for name, value in call.kwargs.items())]:
        owner = owners[place]
        for keys, leaf in leaves_with_keys(value):
            if holds_tensors(leaf):
                raise CodeError(module, f"its argument {owner} is a {type(leaf).__name__} that holds tensors")
            found.append(Leaf(owner.parameter, (*owner.keys, *keys)))
    return found
