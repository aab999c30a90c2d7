"""What has to hold of the arguments of code that was taken over, lest it compute something else in silence."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from secateur.core.errors import SurgeryError
from secateur.pipeline.structure.codegen.calls import called

_AS_MANY = re.compile(r"L\['inputs'\]\[\d+\]\.size\(\)\[0\] == L\['inputs'\]\[\d+\]\.size\(\)\[0\]")


def check_arguments(
    module: str,
    inputs: Mapping[str, Any],
    others: Mapping[str, Any],
    lengths: Sequence[tuple[str, int, int]],
    constants: Sequence[tuple[str, Any]],
    guards: Sequence[str],
    samples: Sequence[tuple[str, int]],
) -> None:
    """Raises `SurgeryError` where code that was taken over for one call is called in a way that it is not written for.

    `inputs` has the tensors and lengths that the code reads, `others` what else is passed, by how they are called. Of
    `lengths` each is a tensor's dimension with its length, of `constants` each a value that is no tensor. `guards` are
    torch's own conditions, in which `L["inputs"]` has the inputs; one that fails for some numbers of samples only is
    let go: `samples` has the first lengths that the code was written on. Of values that torch.fx traces nothing is
    known yet: the check becomes a step of their graph.
    """
    traced = next((value for value in inputs.values() if isinstance(value, fx.Proxy)), None)
    if traced is not None:
        conditions = (module, inputs, others, lengths, constants, guards, samples)
        traced.tracer.create_proxy("call_function", check_arguments, conditions, {})
        return
    for name, dim, length in lengths:
        shape = tuple(inputs[name].shape)
        if shape[dim] != length:
            raise SurgeryError(
                f"the code of {called(module)} was taken over for one size of its inputs, with {length} along "
                f"dimension {dim}, got {shape}: prune the model with an example of the size that you need"
            )
    exporting = torch.compiler.is_exporting()  # what was exported is compared with what runs
    for name, value in () if exporting else constants:  # transformers make a mask of ones only when they are traced
        found = others[name]
        if found is not value and (isinstance(found, Tensor) or found != value):
            got = f"a tensor of the shape {tuple(found.shape)}" if isinstance(found, Tensor) else repr(found)
            raise SurgeryError(
                f"the code of {called(module)} was taken over for {name} = {value!r}, got {got}: call it as the "
                "dense model does in evaluation"
            )
    if torch.compiler.is_compiling():  # lengths are symbols, and what was exported is compared with what runs
        for guard in filter(_AS_MANY.fullmatch, guards):
            holds(guard, inputs)  # which tells the tracer that several inputs have as many samples
        return
    for guard in guards:
        if not holds(guard, inputs) and not holds(guard, inputs, samples):
            raise SurgeryError(
                f"the code of {called(module)} was taken over for one size of its inputs, and would take another way "
                f"for this one ({guard} does not hold): prune the model with an example of the size that you need"
            )


def check_names(module: str, parameter: str, passed: Mapping[str, Any] | Sequence[Any], names: Sequence[Any]) -> None:
    """Raises `SurgeryError` where a call's `*args` hold another number of values, or its `**kwargs` other keywords."""
    found = list(passed) if isinstance(passed, Mapping) else list(range(len(passed)))
    if sorted(found) != sorted(names):
        raise SurgeryError(
            f"the code of {called(module)} was taken over for a call with {list(names)} in {parameter}, got {found}: "
            "call it as the dense model does in evaluation"
        )


def check_same(module: str, one: str, two: str, first: object, second: object) -> None:
    """Raises `SurgeryError` where the arguments `one` and `two`, which were one tensor, are two."""
    if first is not second and not torch.compiler.is_compiling():
        raise SurgeryError(
            f"the code of {called(module)} was taken over for one tensor as {one} and {two}, got two: call it as the "
            "dense model does"
        )


def check_mode(module: str, training: bool) -> None:
    """Raises `SurgeryError` in training, for code that does something else there."""
    if training:
        raise SurgeryError(
            f"the code of {called(module)} does something else in training, which could not be taken over: keep the "
            "module in evaluation mode, or leave its groups out of the plan"
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


def holds(guard: str, inputs: Mapping[str, Any], samples: Sequence[tuple[str, int]] = ()) -> bool:
    """Whether one of torch's conditions on the inputs is true, with other first lengths where `samples` has some."""
    first = dict(samples)

    def sized(name: str, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        tracing = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        if tracing and value.dim() == 0:
            return int(value)  # a length that was passed on
        lengths = [int(length) if tracing else length for length in value.shape]  # in a trace they are tensors
        return _Sized([first.get(name, lengths[0]), *lengths[1:]] if lengths else lengths)

    given = {"inputs": [sized(name, value) for name, value in inputs.items()]}
    return bool(eval(guard, {"L": given, "torch": torch}))
