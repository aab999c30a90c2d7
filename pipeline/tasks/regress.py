"""The task `regress`: numbers for each image, judged by the root mean squared error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from secateur.pipeline.tasks.metric import Metric, Rows
from secateur.pipeline.tasks.task import Task, check_shape, register


@register("regress")
@dataclass(frozen=True)
class Regress(Task):
    """Numbers `[B, columns]`; the loss is half the squared error, the metrics RMSE and R2.

    Labels drawn from the model's prediction are normal around it, which the loss is the likelihood of.
    """

    labels = "numbers"
    activation = "identity"

    def losses(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Half the squared error, summed over the columns."""
        return (outputs.float() - labels).square().sum(1) / 2

    def meter(self, classes: Sequence[str]) -> Errors:
        """Keeps the numbers of all images."""
        return Errors()

    def check(self, outputs: object, classes: Sequence[str]) -> None:
        check_shape(outputs, [len(classes)], f"regression to {len(classes)} columns")


class Errors(Rows):
    """RMSE over all images and columns, in the unit of the labels, and R2, the mean over the columns."""

    def metrics(self) -> tuple[Metric, ...]:
        found, wanted = (rows.double() for rows in self.rows())
        errors = (found - wanted).square()
        spread = (wanted - wanted.mean(0)).square().sum(0)
        r2 = 1 - errors.sum(0) / spread.clamp_min(1e-300)
        rmse = Metric("RMSE", float(errors.mean().sqrt()), higher_is_better=False, unit="")
        return rmse, Metric("R2", float(r2[spread > 0].mean()), unit="")
