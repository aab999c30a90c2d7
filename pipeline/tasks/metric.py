"""Metrics: what a model reaches on images, measured batch by batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from secateur.core.errors import DataError, MissingPackageError


@dataclass(frozen=True)
class Metric:
    """One number that a model reaches; its `unit` is "%", or empty where it is that of the labels."""

    name: str
    value: float
    higher_is_better: bool = True
    unit: str = "%"

    def __str__(self) -> str:
        return f"{self.name} {self.value:.4g}{f' {self.unit}' if self.unit else ''}"


class Meter(ABC):
    """Takes the answers for one batch after another, and says in the end what the model reaches."""

    @abstractmethod
    def add(self, outputs: Any, labels: Tensor) -> None:
        """Takes what the model says of a batch, and the labels of its images."""

    @abstractmethod
    def metrics(self) -> tuple[Metric, ...]:
        """The metrics over all batches, the one that judges first; raises `DataError` where there were none."""

    def answers(self) -> tuple[Tensor, Tensor] | None:
        """Of each image whether it is right `[N]` and its class `[N]`; None where the metric is no share of images."""
        return None


class Rows(Meter):
    """A meter that keeps a row of each image's answer, and of its labels, to look at all of them in the end."""

    def __init__(self) -> None:
        self._outputs: list[Tensor] = []
        self._labels: list[Tensor] = []

    def add(self, outputs: Tensor, labels: Tensor) -> None:
        self._outputs.append(outputs.detach().float().cpu())
        self._labels.append(labels.cpu())

    def rows(self) -> tuple[Tensor, Tensor]:
        """All answers and all labels; raises `DataError` without images."""
        if not sum(map(len, self._labels)):
            raise nothing_to_judge()
        return torch.cat(self._outputs), torch.cat(self._labels)


def nothing_to_judge() -> DataError:
    """The error of a data set without images."""
    return DataError("there are no images to measure accuracy on: give a data set with at least one")


def metrics_package(name: str, needed_for: str) -> None:
    """Raises `MissingPackageError` where a package of metrics is not installed."""
    if find_spec(name) is None:
        raise MissingPackageError(name, needed_for, "metrics")
