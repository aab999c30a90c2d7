"""What an engine reaches on images, by the metrics of its model's task: the engine's own answers, not PyTorch's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from secateur.core.model_inputs import ModelInputs, call, moved
from secateur.core.modules import device_of, frozen
from secateur.export.engine import Engine
from secateur.export.runner.tensors import TensorInfo
from secateur.export.signature import flat_inputs, flat_outputs
from secateur.pipeline.analysis.graph_judge import formed
from secateur.pipeline.data.loader import Batches
from secateur.pipeline.tasks.metric import Meter
from secateur.pipeline.tasks.task import Task

BATCH = 8
"""Images at once: every engine of a run takes so many."""


def measured_engine(
    engine: Engine,
    model: nn.Module,
    loader: Batches,
    task: Task,
    classes: Sequence[str] = (),
    pixels: Batches | None = None,
) -> Meter:
    """The meter of a task after it has seen what an engine of `model` answers to all images.

    `pixels` are the same images from 0 to 255, not normalised, for an engine with its preprocessing inside. Raises
    `EngineError` where the engine cannot run them.
    """
    first, _ = next(iter(loader))
    with frozen(model), torch.inference_mode():
        template = call(model, moved(first, device_of(model)))
    names, meter = list(flat_outputs(template)), task.meter(classes)
    inside = any(tensor.dtype == "uint8" for tensor in engine.inputs)
    for images, labels in pixels if inside and pixels is not None else loader:
        answers = engine.infer(_feeds(engine, model, images))
        meter.add(formed(template, [np.asarray(answers[name]) for name in names]), labels)
    return meter


def _feeds(engine: Engine, model: nn.Module, images: ModelInputs) -> dict[str, NDArray[Any]]:
    """The engine's inputs by their names: those of the model in the same order."""
    arrays = (tensor.cpu().numpy() for tensor in flat_inputs(model, images).values())
    return {wanted.name: _as(wanted, array) for wanted, array in zip(engine.inputs, arrays, strict=True)}


def _as(wanted: TensorInfo, array: NDArray[Any]) -> NDArray[Any]:
    """An array in the type that an input has; pixels `[B, C, H, W]` as uint8 `[B, H, W, C]`."""
    if wanted.dtype == "uint8" and array.dtype.kind == "f":
        return np.ascontiguousarray(np.rint(array).astype(np.uint8).transpose(0, 2, 3, 1))
    return array.astype(wanted.dtype, copy=False)
