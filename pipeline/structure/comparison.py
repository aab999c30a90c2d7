"""A small model beside the masked dense one, both with the same order-one weights, on the same input."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from secateur.core.model_inputs import call, tensors_in
from secateur.core.modules import device_of
from secateur.pipeline.structure.canonical import canonical
from secateur.pipeline.structure.cutting import copied_with, positions_kept, tensor_named
from secateur.pipeline.structure.groups import Groups
from secateur.pipeline.structure.masking import masked
from secateur.pipeline.structure.one_dtype import OneDtype
from secateur.pipeline.structure.outputs import TOLERANCE, comparison_input, largest, relative_difference
from secateur.pipeline.structure.plan import Plan
from secateur.pipeline.structure.recomputation import outputs_with_gradients
from secateur.pipeline.structure.verification_weights import VerificationWeights, calibrated, verification_weights
from secateur.pipeline.structure.wrong_readers import WrongReader, estimated_moves, planted, wrong_readers

MARGIN = 10
"""A planted mistake has to move the outputs by this many times the tolerance."""


def comparison_dtype(model: nn.Module) -> torch.dtype:
    """The precision in which a model is compared: half precision could not tell a wrong unit from rounding."""
    return torch.float64 if next(model.parameters()).dtype == torch.float64 else torch.float32


class Comparison:
    """What a small model computes, and what it should: the dense model with the removed units at zero.

    Both run in evaluation mode as copies that share all memory but that of the weights that change, so that the real
    models stay as they are: first the dense one, which is let go of, then (`run`) the small one, which can be asked
    what a mistake in it would change (`sensitivity`).
    """

    def __init__(
        self,
        model: nn.Module,
        small: nn.Module,
        groups: Groups,
        plan: Plan,
        weights: VerificationWeights | None = None,
        dtype: torch.dtype | None = None,
        least: int = 2,
    ) -> None:
        model = canonical(model)
        self.dtype = dtype or comparison_dtype(model)
        self.tolerance = max(TOLERANCE[self.dtype], TOLERANCE[comparison_dtype(model)])
        self.x = comparison_input(groups.inputs, device_of(model), self.dtype, least)
        weights = weights or verification_weights(model)
        with torch.no_grad():
            dense = masked(model, groups, plan, weights, self.dtype).eval()
        with torch.no_grad(), OneDtype(self.dtype):
            outputs, weights = calibrated(dense, weights, self.x)
            del dense
        self.expected = tensors_in(outputs)
        index = positions_kept(groups, plan.kept)
        self.small = copied_with(small, weights.tensors(small, self.dtype, index)).eval().requires_grad_(False)
        self.wrong = {name: wrong_readers(groups, groups.named(name), plan, self.small) for name in plan.kept}
        for reader in (reader for readers in self.wrong.values() for reader in readers):
            tensor_named(self.small, reader.tensor).requires_grad_(True)
        self.found: list[Tensor] = []
        self.difference = math.nan

    def run(self) -> float:
        """Runs the small model; returns the largest difference between the outputs, relative to their scale.

        It runs without gradients, and where that agrees with them, which `sensitivity` needs: PyTorch's transformer
        layers take another way then.
        """
        with torch.no_grad(), OneDtype(self.dtype):
            self.found = tensors_in(call(self.small, self.x))
        self.difference = relative_difference(self.found, self.expected)
        if self.agrees:
            with OneDtype(self.dtype):
                self.found = outputs_with_gradients(self.small, self.x)
            self.difference = largest([self.difference, relative_difference(self.found, self.expected)])
        return self.difference

    @property
    def agrees(self) -> bool:
        """Whether the small model computes what it should."""
        return self.difference <= self.tolerance

    def sensitivity(self) -> dict[str, float]:
        """For each group of the plan how far its least visible wrong reader moves the outputs, relative to their scale.

        That is estimated from one backward pass, and measured only where the estimate is not well above the tolerance.
        Groups of which nothing is left that could be wrong are absent.
        """
        mistakes = [(name, reader) for name, readers in self.wrong.items() for reader in readers]
        with OneDtype(self.dtype):  # in which blocks may be computed again
            moves = estimated_moves(self.small, [reader for _, reader in mistakes], self.found)
        found: dict[str, float] = {}
        for (name, reader), move in zip(mistakes, moves, strict=True):
            sure = move if move >= MARGIN * self.tolerance else self.move(reader)
            found[name] = min(sure, found.get(name, sure), key=lambda number: (number == number, number))  # NaN first
        return found

    def move(self, *wrong: WrongReader) -> float:
        """How far wrong readers, all of them at once, move the small model's outputs, relative to their scale."""
        with torch.no_grad(), OneDtype(self.dtype), planted(self.small, wrong):
            moved: list[Tensor] = tensors_in(call(self.small, self.x))
        return relative_difference(moved, [tensor.detach() for tensor in self.found])


def compare(
    model: nn.Module,
    small: nn.Module,
    groups: Groups,
    plan: Plan,
    weights: VerificationWeights | None = None,
    least: int = 2,
    watching: Callable[[nn.Module], AbstractContextManager[None]] = lambda _copied: nullcontext(),
) -> Comparison:
    """A comparison on `least` samples or more, `watching` the copy of the small model, in the best precision.

    Single precision serves models of half and of mixed precision too, unless an operation insists on its own. Where it
    disagrees, double precision decides by the same tolerance, since deep models may only have amplified rounding; what
    was found first stands where an operation does not know double precision. The dense model shows which precisions
    the operations know: a small one that fails where it runs is wrong, and raises what it raises.
    """

    def run(dtype: torch.dtype) -> Comparison:
        try:
            comparison = Comparison(model, small, groups, plan, weights, dtype, least)
        except RuntimeError as error:
            if dtype == own or _lacks_memory(error):
                raise
            raise _UnknownPrecision from error
        with watching(comparison.small):
            comparison.run()
        return comparison

    own, usual = next(model.parameters()).dtype, comparison_dtype(model)
    try:
        found = run(usual)
    except _UnknownPrecision:
        return run(own)
    if found.agrees or usual == torch.float64:
        return found
    del found  # whose copy of the model would be held beside one of double size
    try:
        return run(torch.float64)
    except _UnknownPrecision:
        return run(usual)


class _UnknownPrecision(Exception):
    """The dense model does not run in a precision that is not its own."""


def _lacks_memory(error: RuntimeError) -> bool:
    """Whether an operation failed for want of memory; on CPUs PyTorch has no error of its own for that."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)
