"""Metrics as they are said, meters that keep rows, and packages that are absent."""

from __future__ import annotations

import pytest
import torch

from secateur.core.errors import DataError, MissingPackageError
from secateur.pipeline.tasks.metric import Metric, Rows, metrics_package


class Count(Rows):
    def metrics(self) -> tuple[Metric, ...]:
        outputs, labels = self.rows()
        return (Metric("rows", float(len(outputs)), unit=""), Metric("labels", float(labels.sum())))


def test_a_metric_says_its_unit() -> None:
    assert [str(Metric("mAP", 12.3456)), str(Metric("RMSE", 0.5, False, ""))] == ["mAP 12.35 %", "RMSE 0.5"]


def test_rows_of_all_batches_are_kept() -> None:
    meter = Count()
    with pytest.raises(DataError, match="no images"):
        meter.metrics()
    meter.add(torch.zeros(3, 2, dtype=torch.float16), torch.ones(3))
    meter.add(torch.zeros(1, 2), torch.ones(1))
    assert [found.value for found in meter.metrics()] == [4.0, 4.0]
    assert meter.rows()[0].dtype == torch.float32


def test_an_absent_package_is_one_sentence_with_the_command() -> None:
    metrics_package("torch", "this")
    with pytest.raises(MissingPackageError, match=r"task x needs it: .*metrics"):
        metrics_package("no_such_package", "the task x")
