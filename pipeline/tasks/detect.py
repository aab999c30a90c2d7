"""The task `detect`: boxes with a class each, judged by COCO's mean average precision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from secateur.core.errors import RecipeError
from secateur.core.import_path import imported
from secateur.pipeline.tasks.metric import Meter, Metric, metrics_package, nothing_to_judge
from secateur.pipeline.tasks.own import own_loss, own_scores
from secateur.pipeline.tasks.task import Task, register

Found = tuple[Tensor, Tensor, Tensor]
"""Of one image: boxes `[N, 4]` (left, top, right, bottom in pixels of the input), scores `[N]`, classes `[N]`."""


@register("detect")
@dataclass(frozen=True)
class Detect(Task):
    """Whatever a dense head returns; `decode` and `loss` are import paths of functions that know its meaning.

    `decode(outputs)` gives `(boxes, scores, classes)` for each image, after any suppression of doubles, and
    `loss(outputs, labels)` the loss for labels `[B, most, 6]`: class (-1: no box), left, top, right, bottom in pixels
    of the input, whether it is a crowd. `output(outputs)` may give the scores `[B, K]` that explanations start from.
    The metrics are COCO's mAP (mean over IoU 0.5 to 0.95) and mAP at 0.5.
    """

    loss: str
    decode: str
    output: str | None = None

    labels = "boxes"
    scores_classes = False

    def losses(self, outputs: Any, labels: Tensor) -> Tensor:
        """What `loss` gives, for each image."""
        return own_loss(self.loss, outputs, labels)

    def scores(self, outputs: Any) -> Tensor:
        """What `output` gives, or the first tensor averaged over places."""
        return own_scores(self.output, outputs, super().scores)

    def decoded(self, outputs: Any) -> list[Found]:
        """The boxes of each image, checked; raises `RecipeError` where `decode` gives something else."""
        return [_found(one, self.decode) for one in imported(self.decode)(outputs)]

    def meter(self, classes: Sequence[str]) -> Meter:
        """Compares boxes image by image."""
        for package in ("torchmetrics", "pycocotools"):
            metrics_package(package, "the task detect")
        return BoxMeter(self)

    def check(self, outputs: Any, classes: Sequence[str]) -> None:
        super().check(outputs, classes)
        for _, _, numbers in self.decoded(outputs):
            if len(numbers) and not 0 <= int(numbers.min()) <= int(numbers.max()) < len(classes):
                raise RecipeError(
                    f"task.decode: {self.decode} gives the classes {int(numbers.min())} to {int(numbers.max())}, but "
                    f"the data has 0 to {len(classes) - 1}: give a model of these data"
                )


class BoxMeter(Meter):
    """COCO's mean average precision in percent, over all IoU from 0.5 to 0.95 and at 0.5."""

    def __init__(self, task: Detect) -> None:
        from torchmetrics.detection import MeanAveragePrecision

        self._task, self._samples = task, 0
        self._precision = MeanAveragePrecision(box_format="xyxy", iou_type="bbox", backend="pycocotools")
        self._precision.warn_on_many_detections = False  # COCO looks at the 100 surest of an image, as documented

    def add(self, outputs: Any, labels: Tensor) -> None:
        found = [
            {"boxes": boxes.float().cpu(), "scores": scores.float().cpu(), "labels": numbers.long().cpu()}
            for boxes, scores, numbers in self._task.decoded(outputs)
        ]
        if len(found) != len(labels):
            raise RecipeError(
                f"task.decode: {self._task.decode} gives {len(found)} results for a batch of {len(labels)}: give one "
                "for each image"
            )
        self._precision.update(found, [_target(rows.cpu()) for rows in labels])
        self._samples += len(labels)

    def metrics(self) -> tuple[Metric, ...]:
        if not self._samples:
            raise nothing_to_judge()
        reached = self._precision.compute()
        return Metric("mAP", 100 * float(reached["map"])), Metric("mAP at 0.5", 100 * float(reached["map_50"]))


def _target(rows: Tensor) -> dict[str, Tensor]:
    """The boxes of one image as torchmetrics takes them."""
    rows = rows[rows[:, 0] >= 0]
    return {"boxes": rows[:, 1:5], "labels": rows[:, 0].long(), "iscrowd": rows[:, 5].long()}


def _found(one: Any, path: str) -> Found:
    """Boxes, scores and classes of one image, given as three tensors or a dictionary of torchvision's names."""
    if isinstance(one, Mapping):
        one = tuple(one.get(key) for key in ("boxes", "scores", "labels"))
    if isinstance(one, tuple | list) and len(one) == 3 and all(isinstance(part, Tensor) for part in one):
        boxes, scores, numbers = one
        if boxes.ndim == 2 and boxes.shape[1] == 4 and scores.shape == numbers.shape == (len(boxes),):
            return boxes, scores, numbers
    shape = (
        [list(part.shape) if isinstance(part, Tensor) else type(part).__name__ for part in one]
        if isinstance(one, tuple | list)
        else type(one).__name__
    )
    raise RecipeError(
        f"task.decode: {path} gives {shape} for an image, but must give boxes [N, 4], scores [N] and classes [N]"
    )
