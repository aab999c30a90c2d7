"""The cost of a model: multiply-accumulates by fvcore, with handlers for what its own set leaves out.

fvcore counts one multiply-add as one and calls that a flop. Here that number is `macs`, and the conversion is made
in one place: `Cost.flops = 2 * macs`, which is what `torch.utils.flop_counter.FlopCounterMode` reports.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from secateur.benchmarks.mac_handlers import FREE, HANDLERS, on_traced
from secateur.core.errors import BenchError
from secateur.core.input_spec import InputSpec
from secateur.core.model_inputs import ModelInputs, flatten, tensors_in
from secateur.core.modules import shared_copy

if TYPE_CHECKING:
    from fvcore.nn import FlopCountAnalysis

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cost:
    """What one call of a model costs; for a batch of one that is the cost of one image.

    `by_module` has the MACs inside each submodule by name, its children included, without those that have none.
    `unsupported` counts the operations that may carry MACs and are not in `macs`: empty where the count is whole.
    `params` counts every parameter once.
    """

    macs: int
    params: int
    by_module: Mapping[str, int]
    unsupported: Mapping[str, int]

    @property
    def flops(self) -> int:
        """Floating-point operations: a multiplication and an addition for each MAC."""
        return 2 * self.macs


def count_macs(model: nn.Module, example: ModelInputs) -> Cost:
    """The cost of a call with `example` (a tensor, a tuple or a dictionary) in evaluation mode.

    The model keeps its mode, and no hooks are left on it.

    Only products of tensors count (convolution, linear, matrix product, einsum, attention, recurrent cells): see
    `mac_handlers`. Raises `BenchError` when the model cannot be traced on the example.

    >>> sc.count_macs(small, example).macs <= 0.5 * sc.count_macs(model, example).macs
    True
    """
    copied, spec = shared_copy(model), InputSpec.of(example)
    flatten(copied, example)
    analysis = _analysis(copied, tuple(tensors_in(example)))
    try:
        with torch.no_grad():
            by_module = analysis.by_module()
    except Exception as error:  # a model's own code and the tracer raise nearly anything
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise BenchError(
            f"cannot count the MACs of {type(model).__name__} on the input {spec} ({reason}): "
            "give an example that fits it, and a forward of tensors only"
        ) from error
    unsupported = dict(sorted(analysis.unsupported_ops().items()))
    if unsupported:
        _log.warning("not counted, though they may carry MACs: %s", ", ".join(unsupported))
    return Cost(
        macs=int(by_module[""]),
        params=sum(parameter.numel() for parameter in model.parameters()),
        by_module={name: int(macs) for name, macs in by_module.items() if name and macs},
        unsupported=unsupported,
    )


def _analysis(model: nn.Module, example: tuple[Tensor, ...]) -> FlopCountAnalysis:
    """fvcore's analysis with our tables in place of its own, and without its log lines."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fvcore scripts functions at import, which torch calls deprecated
        from fvcore.nn import FlopCountAnalysis

    analysis = FlopCountAnalysis(model, example).clear_op_handles()
    analysis.set_op_handle(**{name: on_traced(handler) for name, handler in HANDLERS.items()})
    # clear_op_handles restored fvcore's list of free operations; ours goes on top of it
    analysis.set_op_handle(**dict.fromkeys(FREE))
    return analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
