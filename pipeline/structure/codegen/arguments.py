"""The arguments of a forward function: which parameter, and which place in it, each of the values passed belongs to."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch.utils._pytree import MappingKey, SequenceKey, tree_flatten, tree_flatten_with_path, tree_unflatten

from secateur.pipeline.structure.codegen.calls import CodeError, RecordedCall


@dataclass(frozen=True)
class Leaf:
    """A value that is passed to a function: the parameter's name, and the keys that lead to it in what is passed."""

    parameter: str
    keys: tuple[Any, ...] = ()

    def of(self, arguments: Mapping[str, Any]) -> Any:
        """The value among the arguments by parameter."""
        found = arguments[self.parameter]
        for key in self.keys:
            found = found[key]
        return found


@dataclass(frozen=True)
class _Marker:
    number: int


def leaves_of(module: str, signature: inspect.Signature, call: RecordedCall) -> list[Leaf]:
    """For each leaf of a call's flattened `(args, kwargs)` where the function finds it.

    Raises `CodeError`, naming the `module`, for arguments that have no name or lie in an object.
    """
    flat, spec = tree_flatten((call.args, dict(call.kwargs)))
    args, kwargs = tree_unflatten([_Marker(number) for number in range(len(flat))], spec)
    found: dict[int, Leaf] = {}
    for name, tree in signature.bind(*args, **kwargs).arguments.items():
        if signature.parameters[name].kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
            raise CodeError(module, f"its arguments {name} have no names")
        for path, marker in tree_flatten_with_path(tree)[0]:
            keys: list[Any] = []
            for key in path:
                if not isinstance(key, (SequenceKey, MappingKey)):
                    raise CodeError(module, f"its argument {name} is an object that holds tensors")
                keys.append(key.idx if isinstance(key, SequenceKey) else key.key)
            found[marker.number] = Leaf(name, tuple(keys))
    return [found[number] for number in range(len(flat))]


def by_parameter(signature: inspect.Signature, call: RecordedCall, leaves: list[Any]) -> dict[str, Any]:
    """Other leaves in place of a call's own, by parameter."""
    args, kwargs = tree_unflatten(leaves, tree_flatten((call.args, dict(call.kwargs)))[1])
    return dict(signature.bind(*args, **kwargs).arguments)


def copied(call: RecordedCall, leaves: list[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a call with other leaves in place of its own."""
    args, kwargs = tree_unflatten(leaves, tree_flatten((call.args, dict(call.kwargs)))[1])
    return args, kwargs
