"""Nests of values, such as modules take and return: their leaves, and nests of the same kind with other leaves."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor
from torch.utils._pytree import GetAttrKey, MappingKey, SequenceKey

Key = GetAttrKey | MappingKey[Any, Any] | SequenceKey[Any]
"""How a nest holds a value; `key.get(nest)` is the value."""


def entries(value: object) -> list[tuple[Key, Any]] | None:
    """What a tuple, list, dictionary, dataclass or named tuple holds, by key; None for every other value, a leaf.

    So are containers of classes that cannot be made anew from what they hold.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        if isinstance(value, Mapping):  # the outputs of transformers
            return [(MappingKey(key), member) for key, member in value.items()]
        if all(field.init for field in fields):
            return [(GetAttrKey(field.name), getattr(value, field.name)) for field in fields]
        return None
    if isinstance(value, dict) and not isinstance(value, defaultdict):
        return [(MappingKey(key), member) for key, member in value.items()]
    if isinstance(value, tuple) or type(value) is list:
        return [(SequenceKey(place), member) for place, member in enumerate(value)]
    return None


def leaves_with_keys(value: object, keys: tuple[Key, ...] = ()) -> list[tuple[tuple[Key, ...], Any]]:
    """The leaves of a nest in order, each with the keys that lead to it."""
    held = entries(value)
    if held is None:
        return [(keys, value)]
    return [leaf for key, member in held for leaf in leaves_with_keys(member, (*keys, key))]


def leaves_of(value: object) -> list[Any]:
    """The leaves of a nest, in order."""
    return [leaf for _, leaf in leaves_with_keys(value)]


def _made(kind: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return kind(*args, **kwargs)


def refilled(
    value: Any,
    leaves: Iterator[Any],
    make: Callable[[Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any] = _made,
) -> Any:
    """A nest of the same kind with other `leaves` in order; `make` calls classes that Python has no brackets for."""
    held = entries(value)
    if held is None:
        return next(leaves)
    kind, members = type(value), [refilled(member, leaves, make) for _, member in held]
    if dataclasses.is_dataclass(value):
        return make(kind, (), {_word(key): member for (key, _), member in zip(held, members, strict=True)})
    if isinstance(value, Mapping):
        found = {key.key: member for (key, _), member in zip(held, members, strict=True) if isinstance(key, MappingKey)}
        return found if kind is dict else make(kind, (found,), {})
    if kind in (tuple, list):
        return kind(members)
    return make(kind, tuple(members) if hasattr(kind, "_fields") else (members,), {})


def path(keys: tuple[Key, ...]) -> str:
    """Keys as Python writes them, such as `[0].mask`."""
    return "".join(f".{key.name}" if isinstance(key, GetAttrKey) else f"[{number_of(key)!r}]" for key in keys)


def holds_tensors(leaf: object) -> bool:
    """Whether a leaf that is no tensor has some among its attributes or members."""
    held = list(leaf.values()) if isinstance(leaf, Mapping) else list(getattr(leaf, "__dict__", {}).values())
    return not isinstance(leaf, Tensor) and any(isinstance(part, Tensor) for part in held)


def number_of(key: MappingKey[Any, Any] | SequenceKey[Any]) -> Any:
    """The key of a mapping, or the place in a sequence."""
    return key.idx if isinstance(key, SequenceKey) else key.key


def _word(key: Key) -> str:
    return str(key.name if isinstance(key, GetAttrKey) else number_of(key))
