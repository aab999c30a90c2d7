"""The order of classes that are known by their names: timm's, so that a model's logits keep their meaning."""

from __future__ import annotations

from collections.abc import Iterable

from timm.utils.misc import natural_key


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """The names, each once, as timm sorts the folders of classes: numbers in them count as numbers, case does not.

    Of names that timm takes for equal (`a1` and `A01`), whose order it leaves open, the first as text goes first.
    """
    return tuple(sorted(set(names), key=lambda name: (_key(name), name)))


def _key(name: str) -> list[int | str]:
    try:
        return list(natural_key(name))  # type: ignore[no-untyped-call]  # timm leaves it untyped
    except ValueError:  # timm cannot sort a lone superscript, a digit that is no number: no model knows its order
        return [name.lower()]
