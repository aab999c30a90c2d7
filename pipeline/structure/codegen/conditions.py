"""What has to hold of the arguments of code that was taken over, lest it compute something else in silence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from secateur.core.errors import SurgeryError

Place = tuple[str, tuple[Any, ...]]
"""Where a value is passed: the parameter, and the keys that lead to it in what is passed."""


def check_arguments(
    module: str,
    given: Mapping[str, Any],
    lengths: Sequence[tuple[Place, int, int]],
    constants: Sequence[tuple[Place, Any]],
    guards: Sequence[str],
    samples: Sequence[tuple[Place, int]],
) -> None:
    """Raises `SurgeryError` where code that was taken over for one call is called in a way that it is not written for.

    `given` has the arguments by parameter. Of `lengths` each is a tensor's dimension with its length, of `constants`
    each a value that is no tensor. `guards` are torch's own conditions, in which `L` has the arguments; one that fails
    for some numbers of samples only is let go: `samples` has the first lengths that the code was written on.
    """
    for place, dim, length in lengths:
        shape = tuple(_at(place, given).shape)
        if shape[dim] != length:
            raise SurgeryError(
                f"the code of {module} was taken over for one size of its inputs, with {length} along dimension {dim}, "
                f"got {shape}: prune the model with an example of the size that you need"
            )
    exporting = torch.compiler.is_exporting()  # what was exported is compared with what runs
    for place, value in () if exporting else constants:  # transformers make a mask of ones only when they are traced
        found = _at(place, given)
        if found is not value and (isinstance(found, Tensor) or found != value):
            got = f"a tensor of the shape {tuple(found.shape)}" if isinstance(found, Tensor) else repr(found)
            raise SurgeryError(
                f"the code of {module} was taken over for {_called(place)} = {value!r}, got {got}: call it as the "
                "dense model does in evaluation"
            )
    if torch.compiler.is_compiling():
        return  # lengths are symbols, and what was exported is compared with what runs
    for guard in guards:
        if not _holds(guard, given, ()) and not _holds(guard, given, samples):
            raise SurgeryError(
                f"the code of {module} was taken over for one size of its inputs, and would take another way for this "
                f"one ({guard} does not hold): prune the model with an example of the size that you need"
            )


def check_same(module: str, one: str, two: str, first: object, second: object) -> None:
    """Raises `SurgeryError` where the arguments `one` and `two`, which were one tensor, are two."""
    if first is not second and not torch.compiler.is_compiling():
        raise SurgeryError(
            f"the code of {module} was taken over for one tensor as {one} and {two}, got two: call it as the dense "
            "model does"
        )


def check_mode(module: str, training: bool) -> None:
    """Raises `SurgeryError` in training, for code that does something else there."""
    if training:
        raise SurgeryError(
            f"the code of {module} does something else in training, which could not be taken over: keep the module in "
            "evaluation mode, or leave its groups out of the plan"
        )


def by_mode(training: bool, trained: Any, evaluated: Any) -> Any:
    """A number that depends on the mode."""
    return trained if training else evaluated


class _Sized:
    """What torch's conditions ask of a tensor, with another number of samples."""

    def __init__(self, lengths: list[int]) -> None:
        self._lengths = lengths

    def size(self) -> list[int]:
        """The lengths of the tensor's dimensions."""
        return self._lengths


def _holds(guard: str, given: Mapping[str, Any], samples: Sequence[tuple[Place, int]]) -> bool:
    """Whether a condition on the arguments is true."""
    first = {id(_at(place, given)): length for place, length in samples}

    def sized(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        lengths = list(value.shape)
        return _Sized([first.get(id(value), lengths[0]), *lengths[1:]] if lengths else lengths)

    return bool(eval(guard, {"L": tree_map(sized, dict(given)), "torch": torch}))


def _at(place: Place, given: Mapping[str, Any]) -> Any:
    found = given[place[0]]
    for key in place[1]:
        found = found[key]
    return found


def _called(place: Place) -> str:
    return place[0] + "".join(f"[{key!r}]" for key in place[1])
