"""Operations on the pixels of an image: pooling, resampling, padding, shuffling, patches."""

from __future__ import annotations

import torch

from secateur.pipeline.structure.graph.coupling import FIXED
from secateur.pipeline.structure.graph.rules import Call, Result, Rules, traced_result
from secateur.pipeline.structure.graph.trace import Trace
from secateur.pipeline.structure.graph.value import LabelMap, Value, dims_of

RULES = Rules()
TOGETHER = "several kinds of units make together, as weights of attention and values do"


@RULES.rule(
    *("avg_pool1d", "avg_pool2d", "avg_pool3d", "max_pool1d", "max_pool2d", "max_pool2d_with_indices"),
    *("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_max_pool1d", "adaptive_max_pool2d"),
    *("upsample_bilinear2d", "upsample_nearest2d", "upsample_bicubic2d", "upsample_linear1d", "upsample_nearest1d"),
    *("max_pool3d", "adaptive_avg_pool3d", "adaptive_max_pool3d", "upsample_nearest3d", "upsample_trilinear3d"),
    *("_upsample_bicubic2d_aa", "_upsample_bilinear2d_aa", "_upsample_nearest_exact2d", "grid_sampler"),
)
def _spatial(trace: Trace, call: Call) -> Result:
    """Resampling of the dimensions after the channels."""
    value: Value = call.args[0]
    spatial = {"1": 1, "2": 2, "3": 3}.get(next((c for c in call.name if c.isdigit()), "2"), 2)
    rank = len(value.shape)
    dims = set(range(rank - spatial, rank))
    kept = []
    for labels in value.maps:
        if dims_of(labels) & dims:
            trace.coupling.fix(labels, f"{call.module}: {call.name} resamples it")
        else:
            kept.append(labels)
    return traced_result(call, kept, value.computed)


@RULES.rule("pad", "constant_pad_nd")
def _pad(trace: Trace, call: Call) -> Result:
    """New elements around: along a dimension with labels, they stay; beside the dimensions of a head, go with it."""
    value = call.args[0]
    pads = list(call.args[1])
    shape = call.shape
    maps = []
    for labels in value.maps:
        own = [0] * len(pads)
        for place in range(0, len(pads), 2):
            if labels.shape[-1 - place // 2] > 1:
                own[place : place + 2] = pads[place : place + 2]
        new = torch.nn.functional.pad(labels, own, value=FIXED)
        if (inner := max(dims_of(new))) and new.shape[inner] > labels.shape[inner] and len(dims_of(new)) > 1:
            beside = trace.coupling.fresh(new.numel()).reshape(new.shape)
            trace.coupling.block(trace.coupling.heads_of(labels, {inner}), beside)
            new = torch.where(new == FIXED, beside, new)
        maps.append(new)
    return Value(shape, tuple(maps), None, value.computed)


@RULES.rule("pixel_shuffle")
def _pixel_shuffle(trace: Trace, call: Call) -> Result:
    """`[..., C * r * r, H, W]` to `[..., C, H * r, W * r]`: the r * r channels of a new one go together."""
    value, factor = call.args
    channel = len(value.shape) - 3
    maps = []
    for labels in value.maps:
        if dims_of(labels) != {channel}:
            trace.coupling.fix(labels, f"{call.module}: pixels are shuffled along it")
            continue
        maps.append(
            _of_runs(trace, labels, factor * factor).reshape(
                [-1 if dim == channel else 1 for dim in range(len(value.shape))]
            )
        )
    return Value(call.shape, tuple(maps), None, value.computed)


@RULES.rule("im2col")
def _im2col(trace: Trace, call: Call) -> Result:
    """Patches of an image, `[B, C, H, W]` to `[B, C * k * k, L]`: each channel becomes k * k rows."""
    value: Value = call.args[0]
    taps = call.shape[1] // value.shape[1]
    maps = []
    for labels in value.maps:
        if dims_of(labels) == {1}:
            maps.append(labels.reshape(1, -1, 1).repeat_interleave(taps, dim=1))
        else:
            trace.coupling.fix(labels, f"{call.module}: patches are cut along it")
    return Value(call.shape, tuple(maps), None, value.computed)


@RULES.rule("col2im")
def _col2im(trace: Trace, call: Call) -> Result:
    """Patches put where they lie and summed, `[B, C * k * k, L]` to `[B, C, H, W]`: a channel takes k * k rows."""
    value: Value = call.args[0]
    taps = value.shape[1] // call.shape[1]
    maps = []
    for labels in value.maps:
        if dims_of(labels) != {1}:
            trace.coupling.fix(labels, f"{call.module}: overlapping patches are summed along it")
        elif len(value.on(1)) > 1:
            trace.coupling.fix(labels, f"{call.module}: overlapping patches are summed that {TOGETHER}")
        else:
            maps.append(_of_runs(trace, labels, taps).reshape(1, -1, 1, 1))
    return Value(call.shape, tuple(maps), None, value.computed)


def _of_runs(trace: Trace, labels: LabelMap, length: int) -> LabelMap:
    """One label for each run of so many along the only dimension that labels change in; those of a run go together."""
    rows = labels.reshape(-1, length)
    trace.coupling.couple(rows, rows[:, :1])
    return rows[:, 0]
