"""How a model's modules are called: what their code, once taken from the graph, has to accept and return."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from secateur.core.errors import SurgeryError
from secateur.core.model_inputs import ModelInputs, call, chosen, has_batch, joined, map_tensors, samples_of, tensors_in
from secateur.core.modules import evaluating, remembering
from secateur.pipeline.structure.codegen.nested import Key, leaves_of, leaves_with_keys, refilled

Dims = tuple[frozenset[int], ...]
"""For each leaf of a call's arguments some of its dimensions; a number that is no tensor has the dimension 0 alone."""
PLAIN = (bool, int, float, str, type(None))
"""What is passed beside tensors and is compared by what it is."""
GROWTHS = (64, 32)
"""By how many pixels (or tokens) another example is longer; the first that the model takes."""


def called(module: str) -> str:
    """A module's path as sentences have it."""
    return module or "the model itself"


class CodeError(SurgeryError):
    """The code of a module cannot be taken over from the graph; `reasons` has those of it and of `others` by path."""

    def __init__(self, module: str, reason: str, others: Sequence[CodeError] = ()) -> None:
        super().__init__(f"the code of {called(module)} cannot be taken over from the graph: {reason}")
        self.reason = reason
        self.reasons: dict[str, str] = {module: reason}
        for other in others:
            self.reasons.update(other.reasons)


@dataclass(frozen=True)
class RecordedCall:
    """How a module was called: its arguments and what it returned, tensors without their numbers.

    What was passed in several places is one object here, too: attention asks whether its queries are its keys.
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    result: Any

    @property
    def leaves(self) -> list[Any]:
        """The leaves of the arguments: those by position first, then those by keyword."""
        return leaves_of((self.args, dict(self.kwargs)))

    @property
    def firsts(self) -> tuple[int, ...]:
        """For each leaf of the arguments the number of the first that is the same tensor; its own for others."""
        seen: dict[int, int] = {}
        return tuple(
            seen.setdefault(id(leaf), number) if isinstance(leaf, Tensor) else number
            for number, leaf in enumerate(self.leaves)
        )

    def with_leaves(self, leaves: Sequence[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The positional and the keyword arguments with other leaves in place of the call's own."""
        args, kwargs = refilled((self.args, dict(self.kwargs)), iter(leaves))
        return args, kwargs

    @property
    def keys(self) -> list[tuple[Key, ...]]:
        """Where in the arguments each leaf is."""
        return [keys for keys, _ in leaves_with_keys((self.args, dict(self.kwargs)))]


@dataclass(frozen=True)
class Calls:
    """The calls of a model's modules in one forward pass, and again with one more sample and with a larger example.

    A model that takes no other size has no larger one.
    """

    base: Mapping[str, list[RecordedCall]]
    longer: Mapping[str, list[RecordedCall]]
    larger: Mapping[str, list[RecordedCall]]

    def by_samples(self, name: str) -> Dims:
        """Which dimensions of the leaves of a module's arguments follow the number of samples."""
        return _varying(self.base[name], self.longer.get(name, []))

    def by_size(self, name: str) -> Dims:
        """Which dimensions of the leaves of a module's arguments follow the size of a sample, or the call."""
        calls = self.base[name]
        pairs = zip(_varying(calls, self.larger.get(name, [])), _varying(calls, calls[1:] + calls[:1]), strict=True)
        return tuple(size | call for size, call in pairs)


def record_all(dense: nn.Module, example: ModelInputs) -> Calls:
    """The calls of all modules of a model on a batch of samples, on one more, and on larger ones."""
    base = record_calls(dense, example)
    longer = record_calls(dense, joined([example, chosen(example, slice(0, 1))]))
    samples = samples_of(example)
    for growth in GROWTHS if any(map(_sizes, tensors_in(example))) else ():
        grow = partial(_grown, samples=samples, growth=growth)
        try:
            return Calls(base, longer, record_calls(dense, map_tensors(grow, example)))
        except Exception:  # whatever a model's code raises: it does not take this size
            continue
    return Calls(base, longer, {})


def _sizes(tensor: Tensor) -> range:
    """The dimensions of an input `[B, C, ...]` or `[B, tokens, C]` along which it has a size: pixels, or tokens."""
    return range(2, tensor.ndim) if tensor.ndim > 3 else range(1, tensor.ndim - 1)


def _grown(tensor: Tensor, samples: int, growth: int) -> Tensor:
    """Another tensor, longer where an input has a size; inputs without one, and tables that are no samples, stay."""
    sizes = _sizes(tensor)
    if not sizes or not has_batch(tensor, samples):
        return tensor
    return tensor.new_zeros([length + growth if dim in sizes else length for dim, length in enumerate(tensor.shape)])


@contextmanager
def recorded(model: nn.Module, names: list[str]) -> Iterator[dict[str, list[RecordedCall]]]:
    """A dictionary of all calls of some modules while the model runs."""
    seen: dict[str, list[RecordedCall]] = {name: [] for name in names}
    handles = []
    for name in names:

        def hook(_module: nn.Module, args: Any, kwargs: Any, result: Any, name: str = name) -> None:
            made: dict[int, Tensor] = {}  # what is passed twice is recorded as one

            def shape(leaf: Any) -> Any:
                return made.setdefault(id(leaf), leaf.to("meta")) if isinstance(leaf, Tensor) else leaf

            call = (args, kwargs, result)
            seen[name].append(RecordedCall(*refilled(call, map(shape, leaves_of(call)))))

        handles.append(model.get_submodule(name).register_forward_hook(hook, with_kwargs=True))
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def record_calls(dense: nn.Module, example: ModelInputs) -> dict[str, list[RecordedCall]]:
    """The calls of all modules in a run of the dense model in evaluation mode."""
    names = [name for name, _ in dense.named_modules(remove_duplicate=False)]
    with evaluating(dense), remembering(dense), torch.no_grad(), recorded(dense, names) as seen:
        call(dense, example)
    return seen


def is_plain(call: RecordedCall) -> bool:
    """Whether a call has one tensor in, in one or several places, and one out, and nothing else but plain values."""
    tensors = {id(leaf) for leaf in call.leaves if isinstance(leaf, Tensor)}
    returned = [leaf for leaf in leaves_of(call.result) if isinstance(leaf, Tensor)]
    return len(tensors) == len(returned) == 1 and all(isinstance(leaf, (Tensor, *PLAIN)) for leaf in call.leaves)


def _varying(base: Sequence[RecordedCall], others: Sequence[RecordedCall]) -> Dims:
    """The dimensions in which the arguments of some calls differ from those of others; none where the kinds differ."""
    found: Dims = (frozenset(),) * len(base[0].leaves)
    if len(base) == len(others) and len({tuple(call.keys) for call in (*base, *others)}) == 1:
        for one, two in zip(base, others, strict=True):
            differ = map(_different, one.leaves, two.leaves)
            found = tuple(known | new for known, new in zip(found, differ, strict=True))
    return found


def _different(one: Any, two: Any) -> frozenset[int]:
    if isinstance(one, Tensor) and isinstance(two, Tensor) and one.ndim == two.ndim:
        return frozenset(dim for dim in range(one.ndim) if one.shape[dim] != two.shape[dim])
    if isinstance(one, int) and isinstance(two, int) and not isinstance(one, bool):
        return frozenset({0}) if one != two else frozenset()
    return frozenset()
