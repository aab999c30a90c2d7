"""What the stages of a run share: the folder, the recipe, the dense model and the images, each loaded once."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import nn

from secateur.core.files import sha256_file
from secateur.pipeline.data.classes import logits_of, of_classes
from secateur.pipeline.data.dataset import Dataset, open_data
from secateur.pipeline.data.loader import Loader
from secateur.pipeline.data.sampling import few_shot
from secateur.pipeline.models.create import create_model
from secateur.pipeline.models.inputs import check_classes, input_shape, transform_for
from secateur.pipeline.recover.compensate import Statistics, gather_statistics
from secateur.pipeline.runs.recipe import Recipe
from secateur.pipeline.structure.classes import specialised
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Groups
from secateur.pipeline.structure.history import Classes
from secateur.pipeline.structure.plan import Plan
from secateur.pipeline.structure.surgery import example_for

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """A run directory with its recipe.

    With a `lender`, a run of the same model, images and recovery, that one's `statistics` serve this run too.
    """

    folder: Path
    recipe: Recipe
    lender: Run | None = None

    @cached_property
    def dense(self) -> nn.Module:
        """The dense model with its weights, in evaluation mode, for the recipe's classes if it names any."""
        torch.manual_seed(self.recipe.seed)  # a model without weights starts from the recipe's seed
        if not (self.recipe.model.weights or self.recipe.model.pretrained):
            _log.warning(
                "%s has random weights, whose scores and accuracy mean nothing: give model.weights or model.pretrained",
                self.recipe.model.name,
            )
        model = create_model(self.recipe.model, num_classes=None)
        if words := self.recipe.classes:
            outputs = int(getattr(model, "num_classes", 0))
            logits = logits_of(words, self._all_data.classes, outputs)
            model = specialised(model, Classes(outputs, tuple(logits), words))
        check_classes(model, self.data.calibration.classes)
        return model

    @cached_property
    def data(self) -> Dataset:
        """The calibration and evaluation images, of the recipe's classes if it names any."""
        return of_classes(self._all_data, self.recipe.classes) if self.recipe.classes else self._all_data

    @cached_property
    def _all_data(self) -> Dataset:
        """The images of all classes."""
        return open_data(self.recipe.data, seed=self.recipe.seed)

    @cached_property
    def groups(self) -> Groups:
        """What can be removed from the dense model."""
        return find_groups(self.dense, example_for(self.dense, input_shape(self.dense)))

    @cached_property
    def plan(self) -> Plan:
        """The plan that the plan stage wrote."""
        return Plan.load(self.folder / "plan.json")

    def calibration(self, samples_per_class: int, batch_size: int) -> Loader:
        """Calibration images, `samples_per_class` of each class (0: all), in a fixed order."""
        images = self.data.calibration
        indices = few_shot(images.labels, samples_per_class, self.recipe.seed) if samples_per_class else None
        return Loader(images, transform_for(self.dense), batch_size, indices)

    @cached_property
    def statistics(self) -> Statistics:
        """What every plan of this run's kinds is repaired from."""
        spec = self.recipe.recover
        loader = self.calibration(spec.samples_per_class, spec.batch_size)
        return gather_statistics(self.dense, self.groups, self.recipe.plan.kinds, loader)

    def evaluation(self, batch_size: int = 32) -> Loader:
        """All images of the held-out split; nothing but the final accuracy may use them."""
        return Loader(self.data.evaluation, transform_for(self.dense), batch_size)

    @cached_property
    def model_identity(self) -> dict[str, object]:
        """What decides the dense model: name, arguments, the content of its weights file, and classes if not all."""
        spec = self.recipe.model
        weights = sha256_file(Path(spec.weights)) if spec.weights and Path(spec.weights).is_file() else spec.weights
        classes = {"classes": list(self.recipe.classes)} if self.recipe.classes else {}
        made = {"name": spec.name, "kwargs": dict(spec.kwargs), "pretrained": spec.pretrained, "weights": weights}
        return {**made, **classes}
