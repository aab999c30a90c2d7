"""A run: its folder, its recipe, and what these name (model, images, statistics), each loaded once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from secateur.benchmarks.results_file import BenchResult, read_bench
from secateur.core.files import sha256_json, sha256_once
from secateur.core.import_path import is_import_path, source_digest
from secateur.export.quantize.observe import FEWEST
from secateur.export.quantize.spec import QuantizeSpec
from secateur.pipeline.analysis.graph_judge import FOLDS
from secateur.pipeline.data.classes import logits_of, of_classes
from secateur.pipeline.data.dataset import Dataset, open_data
from secateur.pipeline.data.loader import Loader
from secateur.pipeline.data.sampling import few_shot, shortfall
from secateur.pipeline.data.transform import Transform
from secateur.pipeline.models.create import create_model, factory_of
from secateur.pipeline.models.inputs import check_classes, input_shape, transform_for
from secateur.pipeline.models.weights_file import weights_digest
from secateur.pipeline.recover.compensate import Statistics, gather_statistics
from secateur.pipeline.runs.recipe import Recipe
from secateur.pipeline.structure.classes import specialised
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Groups
from secateur.pipeline.structure.history import Classes
from secateur.pipeline.structure.layers import unit_kinds
from secateur.pipeline.structure.plan import Plan
from secateur.pipeline.structure.storage import STRUCTURE, WEIGHTS, load
from secateur.pipeline.structure.surgery import example_for
from secateur.pipeline.tasks.task import Task

_log = logging.getLogger(__name__)
T = TypeVar("T")


class Store:
    """Things that are slow to make, the last one of each kind, with the hash of all that it was made from."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[str, Any]] = {}

    def get(self, kind: str, made_from: str, make: Callable[[], T]) -> T:
        """The thing that is there, or where that was made from something else, one that `make` makes now."""
        if self.known(kind, made_from) is None:
            self._kept[kind] = (made_from, make())
        value: T = self._kept[kind][1]
        return value

    def known(self, kind: str, made_from: str) -> object:
        """The thing that is there; None where there is none, or one that was made from something else."""
        there = self._kept.get(kind)
        return there[1] if there and there[0] == made_from else None


@dataclass(frozen=True)
class Run:
    """A run directory with its recipe; weights and images are looked at once, when they are first needed.

    Runs that share a `store` load and trace a model once between them. With `shares_statistics`, what plans are
    repaired from is gathered for all of the recipe's kinds, so that other runs of the store need not gather it.
    `replaces` is the recipe in recipe.yaml that this one is to replace when the stages are done.
    """

    folder: Path
    recipe: Recipe
    store: Store = field(default_factory=Store, compare=False, repr=False)
    shares_statistics: bool = False
    replaces: Recipe | None = field(default=None, compare=False, repr=False)

    @cached_property
    def data(self) -> Dataset:
        """The calibration and evaluation images, of the recipe's classes if it names any."""
        return of_classes(self._all_data, self.recipe.classes) if self.recipe.classes else self._all_data

    @cached_property
    def _all_data(self) -> Dataset:
        """The images of all classes."""
        return open_data(self.recipe.data, seed=self.recipe.seed, labels=self.task.labels)

    @property
    def task(self) -> Task:
        """What the model is for."""
        return self.recipe.task.made()

    @property
    def transform(self) -> Transform:
        """The dense model's preprocessing, which leaves whole what labels of places in it are about."""
        truths = self.data.calibration.truths
        return transform_for(self.dense, whole=truths is not None and truths.in_place)

    @cached_property
    def model_identity(self) -> Mapping[str, str]:
        """What decides the dense model: how it is made, the content of its weights file, and of what classes it is."""
        spec, recipe = self.recipe.model, self.recipe
        weights = (weights_digest(Path(spec.weights)) if spec.weights else "") or str(spec.weights)
        classes = [list(recipe.classes), list(self._all_data.classes)] if recipe.classes else []
        made = [spec.name, dict(spec.kwargs), spec.pretrained, classes, recipe.seed]  # what has no weights is drawn
        if is_import_path(spec.name):  # the user's code decides the model, too
            made.append(source_digest(spec.name))
        if spec.ema is not None or spec.config:
            made += [spec.ema, spec.config]
        return {"model": sha256_json(made), "weights": weights}

    @property
    def dense(self) -> nn.Module:
        """The dense model with its weights, in evaluation mode, for the recipe's classes if it names any."""
        model = self.store.get("dense", sha256_json(self.model_identity), self._make_dense)
        if self.task.classifies:
            check_classes(model, self.data.calibration.classes)
        return model

    def _make_dense(self) -> nn.Module:
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
        return model

    @property
    def groups(self) -> Groups:
        """What can be removed from the dense model."""
        return self.store.get("groups", sha256_json(self.model_identity), self._find_groups)

    def _find_groups(self) -> Groups:
        return find_groups(self.dense, example_for(self.dense, input_shape(self.dense)))

    @property
    def plan(self) -> Plan:
        """The plan that the plan stage wrote."""
        return Plan.load(self.folder / "plan.json")

    @property
    def bench(self) -> BenchResult:
        """The comparison that the bench stage wrote."""
        return read_bench(self.folder)

    @property
    def small(self) -> nn.Module:
        """The pruned and repaired model that the recover stage wrote."""
        return self.model_in("model")

    def model_in(self, name: str) -> nn.Module:
        """The small model in a subfolder, `pruned` or (repaired) `model`, cut once for each content.

        It is cut from the dense model where that has been traced already.
        """
        place = self.folder / name
        content = [sha256_once(place / file) if (place / file).is_file() else "" for file in (STRUCTURE, WEIGHTS)]

        def cut() -> nn.Module:
            groups = self.store.known("groups", sha256_json(self.model_identity))
            traced = (self.dense, groups) if isinstance(groups, Groups) else None
            return load(place, factory_of(self.recipe.model), traced)

        return self.store.get(name, sha256_json(content), cut)

    def calibration(self, samples_per_class: int, batch_size: int, without: Sequence[int] = ()) -> Loader:
        """Calibration images, `samples_per_class` of each class or stratum (0: all), in a fixed order.

        Those `without` are left out of them. Warns of classes that have fewer.
        """
        images = self.data.calibration
        if images.truths is None and (short := shortfall(images.labels, images.classes, samples_per_class)):
            _log.warning("%s", short)
        indices = few_shot(images.labels, samples_per_class, self.recipe.seed) if samples_per_class else None
        if len(without):
            indices = np.setdiff1d(np.arange(len(images)) if indices is None else indices, without)
        return Loader(images, self.transform, batch_size, indices)

    def limit_images(self, spec: QuantizeSpec, few: int) -> tuple[Loader, Loader]:
        """The calibration images that a limit on what 8 bits lose is measured on, and a `few` of those that calibrate.

        The first ones measure no range; they are drawn by the seed, in batches that are many enough for a standard
        error. Raises `DataError` where there are none.
        """
        images, seed = self.data.calibration, self.recipe.seed
        indices = few_shot(images.labels, spec.samples_per_class, seed)
        measuring = indices[np.arange(len(indices)) % FEWEST != FEWEST - 1]
        rest = np.setdiff1d(np.arange(len(images)), measuring)
        draws = np.random.default_rng(seed)
        drawn = draws.permutation(rest)[: spec.drop_images or None]
        size = max(1, min(spec.batch_size, len(drawn) // FOLDS))
        held_out = Loader(images, self.transform, size, drawn)
        return held_out, Loader(images, self.transform, spec.batch_size, draws.permutation(measuring)[:few])

    @property
    def statistics(self) -> Statistics:
        """What every plan of this run's kinds is repaired from."""
        spec, kinds = self.recipe.recover, unit_kinds(self.recipe.plan.kinds)
        images = [self.data.calibration.fingerprint(), spec.samples_per_class, spec.batch_size, self.recipe.seed]

        def gather() -> Statistics:
            loader = self.calibration(spec.samples_per_class, spec.batch_size)
            return gather_statistics(self.dense, self.groups, kinds, loader)

        return self.store.get("statistics", sha256_json([self.model_identity, images, list(kinds)]), gather)

    def evaluation(self, batch_size: int = 32) -> Loader:
        """All images of the held-out split; nothing but the final accuracy may use them."""
        return Loader(self.data.evaluation, self.transform, batch_size)
