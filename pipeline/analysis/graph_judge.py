"""What an ONNX graph loses of a task's metric against the fp32 graph of the same model, on labelled images."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from secateur.core.errors import DataError, ExportError
from secateur.core.files import sha256_file, sha256_json
from secateur.core.model_inputs import call, map_tensors, moved
from secateur.core.modules import device_of, frozen
from secateur.export.graph_types import declared_precisions, graph_precision, read_graph
from secateur.export.ort_engine import open_session
from secateur.export.quantize.limit import Drop
from secateur.export.signature import flat_inputs, flat_outputs
from secateur.pipeline.data.loader import Batches
from secateur.pipeline.tasks.classify import Classify
from secateur.pipeline.tasks.metric import Meter, Metric
from secateur.pipeline.tasks.task import Task

FOLDS = 20
"""Parts of the images that are left out in turn for the standard error."""
LEAST = 2
"""Batches without which there is no standard error."""


class GraphJudge:
    """Runs graphs of a model in ONNX Runtime on the CPU, and compares them with the one at `fp32`.

    `images` tell the metric of the `task`, classification unless one is given, and have two batches or more; `classes`
    are the names in the data. `few` are other images, for the divergence. `source` identifies both, such as by their
    hashes.

    >>> images, labels = loader[0]
    >>> batches = [(images[:5], labels[:5]), (images[5:], labels[5:])]
    >>> fp32 = sc.export_onnx(small, "judged.onnx").path
    >>> judge = sc.GraphJudge(small, fp32, batches, batches[:1])
    >>> judge.metric, judge.drop(fp32).value, judge.divergence(fp32)
    ('top-1 accuracy', 0.0, 0.0)
    """

    def __init__(
        self,
        model: nn.Module,
        fp32: Path,
        images: Batches,
        few: Batches,
        task: Task | None = None,
        classes: Sequence[str] = (),
        source: object = "",
    ) -> None:
        self._model, self._fp32, self._images, self._few = model, fp32, images, few
        self._task, self._classes, self._source = task or Classify(), classes, source

    @property
    def identity(self) -> str:
        """The hash of the fp32 graph, the images and the task."""
        return sha256_json([sha256_file(self._fp32), self._source, str(self._task), FOLDS])

    @property
    def metric(self) -> str:
        """The name of the metric that judges the task."""
        return self._dense[1].name

    @property
    def unit(self) -> str:
        """The unit of that metric."""
        return self._dense[1].unit

    def divergence(self, path: Path) -> float:
        """The mean of the task's divergence from the fp32 graph's answers, over the few images."""
        found = zip(self._answers(path, self._few), self._goals, strict=True)
        return float(torch.cat([self._task.divergence(one, goal) for (one, _), goal in found]).double().mean())

    def drop(self, path: Path) -> Drop:
        """How much worse the metric is, with the standard error of the paired difference.

        That is the jackknife's: the metric of all images but one of `FOLDS` parts, the same of both graphs (Efron and
        Stein, 1981). Of a share of the images it is no less than what one image makes.
        """
        values, metric, images = self._measured(path)
        apart = (self._dense[0] - values) * (1 if metric.higher_is_better else -1)
        folds = len(apart) - 1
        error = math.sqrt((folds - 1) / folds * float(((apart[1:] - apart[1:].mean()) ** 2).sum()))
        return Drop(float(apart[0]), max(error, 100 / images if self._task.classifies else 0.0), images)

    @cached_property
    def _dense(self) -> tuple[NDArray[np.float64], Metric, int]:
        return self._measured(self._fp32)

    @cached_property
    def _goals(self) -> list[Any]:
        return [answer for answer, _ in self._answers(self._fp32, self._few)]

    @cached_property
    def _template(self) -> Any:
        """What the model returns for a batch: the graph's answers are put into its form."""
        images, _ = next(iter(self._images))
        with frozen(self._model), torch.inference_mode():
            return call(self._model, moved(images, device_of(self._model)))

    def _measured(self, path: Path) -> tuple[NDArray[np.float64], Metric, int]:
        """The metric on all images, and on all but each part of them; and how many images there are."""
        meters: list[Meter] = [self._task.meter(self._classes) for _ in range(FOLDS + 1)]
        batches = images = 0
        for answer, labels in self._answers(path, self._images):
            for place, meter in enumerate(meters):
                if place != batches % FOLDS + 1:
                    meter.add(answer, labels)
            batches, images = batches + 1, images + len(labels)
        if batches < LEAST:
            raise DataError(
                f"the images that tell the drop are {batches or 'no'} batch, but {LEAST} are needed: give more images"
            )
        first = [meter.metrics()[0] for meter in meters[: min(batches, FOLDS) + 1]]
        return np.array([one.value for one in first]), first[0], images

    def _answers(self, path: Path, batches: Batches) -> Iterator[tuple[Any, Tensor]]:
        """The answers of the graph in the form that the model gives them in, each batch with its labels."""
        fp8 = graph_precision(declared_precisions(read_graph(path))) == "fp8"  # it has no kernels on the CPU
        session = open_session(path, "cpu", torch.get_num_threads(), as_written=fp8)
        names = list(flat_outputs(self._template))
        for images, labels in batches:
            feeds = {name: tensor.cpu().numpy() for name, tensor in flat_inputs(self._model, images).items()}
            yield formed(self._template, session.run(names, feeds)), labels


def formed(template: Any, arrays: Sequence[NDArray[Any]]) -> Any:
    """The arrays as tensors in the form of what the model returns; raises `ExportError` where that has no tensors."""
    rest = iter(arrays)
    formed = map_tensors(lambda _: torch.from_numpy(next(rest)), template)
    if next(rest, None) is not None:
        raise ExportError(
            f"the model returns a {type(template).__name__}, of which no limit on the loss can be measured: return "
            "tensors, or tuples or mappings of them"
        )
    return formed
