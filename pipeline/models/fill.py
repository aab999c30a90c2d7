"""The tensors of a checkpoint in the model that they belong to, or one sentence on what differs."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping

import torch
from timm.models import PretrainedCfg, get_pretrained_cfg
from torch import Tensor, nn

from secateur.core.errors import ModelError
from secateur.pipeline.models.weights_file import PREFIXES

FRACTIONS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
"""The types of weights; 8 bits of any kind mean nothing without their scales."""
_log = logging.getLogger(__name__)


def classes_in(name: str, tensors: Mapping[str, Tensor]) -> int | None:
    """The number of classes of a checkpoint's classifiers, or None when it has none or they differ."""
    config: PretrainedCfg | None = get_pretrained_cfg(name)
    layers = config.classifier if config is not None else None
    names = (layers,) if isinstance(layers, str) else tuple(layers or ())
    counts = {
        len(tensors[f"{layer}.{key}"])
        for layer in names
        for key in ("weight", "bias")
        if f"{layer}.{key}" in tensors and tensors[f"{layer}.{key}"].ndim
    }
    return counts.pop() if len(counts) == 1 else None


def classes_by_shape(model: nn.Module, tensors: Mapping[str, Tensor]) -> int | None:
    """The number of classes of a checkpoint that fits a model but for the number of rows of its last tensors.

    None where all shapes fit, other sides of a tensor differ too, or the tensors do not agree on the number.
    """
    wanted = model.state_dict()
    other = [key for key in wanted if key in tensors and wanted[key].shape != tensors[key].shape]
    if any(not tensors[key].ndim or wanted[key].shape[1:] != tensors[key].shape[1:] for key in other):
        return None
    counts = {len(tensors[key]) for key in other}
    return counts.pop() if len(counts) == 1 else None


def fill(model: nn.Module, tensors: Mapping[str, Tensor], name: str, where: str) -> None:
    """Loads the tensors into the model; raises `ModelError` when they are those of another architecture.

    Where the names differ, those of a model whose own attribute has the name of a wrapper's are tried first (they have
    lost it), then timm's own filter for older checkpoints of the family.
    """
    odd = _differences(model, tensors)
    for prefix in PREFIXES if odd else ():
        inside = {f"{prefix}{key}": tensor for key, tensor in tensors.items()}
        if not _differences(model, inside):
            odd, tensors = "", inside
    if odd:
        older = _refiltered(model, tensors)
        if older is None or _differences(model, older):
            raise ModelError(
                f"{where} does not fit {name}: {odd}; give weights of this architecture, or the name and kwargs "
                "(num_classes among them) that belong to these weights"
            )
        _log.info("%s was brought to timm's present form by its filter for %s", where, name)
        tensors = older
    _check_types(model, tensors, where)
    model.load_state_dict(dict(tensors), strict=False)  # strict but for the batch counters


def _check_types(model: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Raises `ModelError` where the file has whole, complex or truth values, or 8 bits, for what are fractions."""
    for name, wanted in model.state_dict().items():
        found = tensors.get(name)
        if found is not None and wanted.is_floating_point() and found.dtype not in FRACTIONS:
            raise ModelError(
                f"{where}: {name!r} is {str(found.dtype).removeprefix('torch.')}, but weights are of "
                f"{', '.join(str(one).removeprefix('torch.') for one in FRACTIONS)}: give the file from before it was "
                "quantised or converted"
            )


def _differences(model: nn.Module, tensors: Mapping[str, Tensor]) -> str:
    """How many tensors are missing, unexpected and of another shape, with the first of each; empty when all fit.

    BatchNorm's counters of training batches may be missing: evaluation does not read them.
    """
    wanted = model.state_dict()
    missing = [key for key in wanted if key not in tensors and not key.endswith("num_batches_tracked")]
    extra = [key for key in tensors if key not in wanted]
    other = [key for key in wanted if key in tensors and wanted[key].shape != tensors[key].shape]
    parts = [f"{len(missing)} of {len(wanted)} tensors missing (first {missing[0]!r})"] if missing else []
    if extra:
        parts.append(f"{len(extra)} unexpected (first {extra[0]!r})")
    if other:
        have, want = list(tensors[other[0]].shape), list(wanted[other[0]].shape)
        parts.append(f"{len(other)} of another shape (first {other[0]!r}: {have} in the file, {want} in the model)")
    return ", ".join(parts)


def _refiltered(model: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """The tensors after the model family's `checkpoint_filter_fn`, or None when there is none or it does not apply."""
    convert = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    if convert is None:
        return None
    try:
        converted = convert(dict(tensors), model)
    except Exception as error:  # it was written for other names than these
        _log.debug("timm's checkpoint filter does not apply: %r", error)
        return None
    return dict(converted)
