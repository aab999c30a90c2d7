"""What a stage is handed: everything that it has declared, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, cast

from torch import nn

from secateur.core.errors import RunError
from secateur.export.quantize.spec import QuantizeSpec
from secateur.pipeline.data.images import Images
from secateur.pipeline.data.loader import Loader
from secateur.pipeline.data.transform import Transform
from secateur.pipeline.models.create import factory_of
from secateur.pipeline.recover.compensate import Statistics
from secateur.pipeline.runs.context import Run
from secateur.pipeline.runs.declarations import (
    CalibrationImages,
    ClassNames,
    Declaration,
    DenseModel,
    Found,
    HeldOutImages,
    Output,
    RecipePart,
)
from secateur.pipeline.runs.manifest import Entry
from secateur.pipeline.runs.recipe import Recipe
from secateur.pipeline.structure.groups import Groups
from secateur.pipeline.structure.plan import Plan
from secateur.pipeline.structure.storage import STRUCTURE, WEIGHTS
from secateur.pipeline.tasks.task import Task as ModelTask


class UndeclaredError(RunError):
    """A stage opens something that it does not declare: a change of it would go unnoticed."""


@dataclass(frozen=True)
class Task:
    """What the other processes of a launcher are to help with: a stage of a run with this recipe, in YAML."""

    stage: str
    recipe: str


@dataclass(frozen=True)
class Inputs:
    """The declared artefacts of one stage of a run, each loaded when it is asked for.

    Raises `UndeclaredError` for all others. `keeps` are the patterns of working files (checkpoints, studies) that the
    stage may leave in the run's folder and find again.
    """

    stage: str
    reads: Sequence[Declaration]
    keeps: Sequence[str]
    _run: Run
    _finished: Mapping[str, Entry]

    @property
    def recipe(self) -> Recipe:
        """The recipe, of which only the declared parts can be read."""
        keys = frozenset(one.key for one in self.reads if isinstance(one, RecipePart))
        return self._run.recipe if "" in keys else cast(Recipe, _Part(self._run.recipe, "", keys, self.stage))

    def task(self) -> Task:
        """What to tell processes that help with this stage."""
        return Task(self.stage, self._run.recipe.to_yaml())

    @property
    def dense(self) -> nn.Module:
        """The dense model with its weights."""
        self._check(DenseModel(), "the dense model")
        return self._run.dense

    @property
    def groups(self) -> Groups:
        """What can be removed from the dense model."""
        self._check(DenseModel(), "the dense model")
        return self._run.groups

    @property
    def calibration_images(self) -> Images:
        """The images to compute with."""
        self._check(CalibrationImages(), "the calibration images")
        return self._run.data.calibration

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of what the model's outputs are about, in their order."""
        self._check(ClassNames(), "the names of the classes")
        return self._run.data.classes

    @property
    def factory(self) -> Callable[[], nn.Module] | None:
        """What makes the dense architecture where timm does not."""
        self._check(DenseModel(), "the dense model")
        return factory_of(self._run.recipe.model)

    @property
    def transform(self) -> Transform:
        """The preprocessing of the images for the dense model."""
        self._check(DenseModel(), "the dense model")
        return self._run.transform

    @property
    def model_task(self) -> ModelTask:
        """What the model is for."""
        return self.recipe.task.made()

    def calibration(self, samples_per_class: int, batch_size: int, without: Sequence[int] = ()) -> Loader:
        """Calibration images but those `without`, `samples_per_class` of each class (0: all), in a fixed order."""
        self._check(CalibrationImages(), "the calibration images")
        return self._run.calibration(samples_per_class, batch_size, without)

    def limit_images(self, spec: QuantizeSpec, few: int) -> tuple[Loader, Loader]:
        """Calibration images that measure no range in 8 bits, and a few of those that do."""
        self._check(CalibrationImages(), "the calibration images")
        return self._run.limit_images(spec, few)

    @property
    def shared_statistics(self) -> Statistics | None:
        """What all plans of a sweep are repaired from; None in a run of its own."""
        self._check(CalibrationImages(), "the calibration images")
        return self._run.statistics if self._run.shares_statistics else None

    @property
    def held_out_images(self) -> Images:
        """The images that judge the result."""
        self._check(HeldOutImages(), "the held-out images")
        return self._run.data.evaluation

    def evaluation(self) -> Loader:
        """All held-out images, in a fixed order."""
        self._check(HeldOutImages(), "the held-out images")
        return self._run.evaluation()

    @property
    def plan(self) -> Plan:
        """The plan that the plan stage wrote."""
        return Plan.load(self.path("plan.json"))

    @property
    def model_and_images(self) -> Sequence[object]:
        """What identifies the dense model and the calibration images, for what is kept and shared by their content."""
        self._check(DenseModel(), "the dense model")
        return [self._run.model_identity, self.calibration_images.fingerprint()]

    def model(self, name: str) -> nn.Module:
        """The small model in a subfolder: `pruned`, or repaired `model`."""
        for file in (STRUCTURE, WEIGHTS):
            self.path(f"{name}/{file}")
        return self._run.model_in(name)

    def path(self, name: str) -> Path:
        """A file of an earlier stage, by its name in the run directory."""
        files = self._files()
        if name not in files:
            raise UndeclaredError(
                f"the stage {self.stage!r} opens {name}, which is none of the files that it declares: "
                f"{', '.join(sorted(files)) or 'none'}"
            )
        return self._run.folder / name

    def has(self, name: str) -> bool:
        """Whether a declared earlier stage has written a file of this name."""
        return name in self._files()

    def found(self, name: str) -> Path | None:
        """A declared file that another command left in the run's folder or beside it; None where there is none."""
        self._check(Found(name), name)
        path = self._run.folder / name
        return path if path.is_file() else None

    def folder_of(self, *outputs: Output) -> Path:
        """The run directory, for code that finds the files of these stages in it by itself."""
        for output in outputs:
            self._check(output, f"{output.pattern} of {output.stage}")
        return self._run.folder

    def output(self, name: str = "") -> Path:
        """Where to write a file or a folder of the stage's own; without a name, the folder that all of them are in."""
        return self._run.folder / name

    @property
    def working_folder(self) -> Path:
        """Where the stage's working files lie, for code that names them by itself."""
        if not self.keeps:
            raise UndeclaredError(f"the stage {self.stage!r} does not declare that it keeps working files")
        return self._run.folder

    def working_file(self, name: str) -> Path:
        """Where a working file of the stage lies, or will."""
        if not any(fnmatch(name, pattern) for pattern in self.keeps):
            raise UndeclaredError(f"the stage {self.stage!r} does not declare that it keeps {name}")
        return self._run.folder / name

    def _files(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for one in self.reads:
            if isinstance(one, Output):
                found |= one.files(self._finished)
        return found

    def _check(self, declaration: Declaration, words: str) -> None:
        if declaration not in self.reads:
            raise UndeclaredError(f"the stage {self.stage!r} opens {words} and does not declare it")


class _Part:
    """A recipe, or a section of it, that shows the declared values alone."""

    def __init__(self, value: object, place: str, keys: frozenset[str], stage: str) -> None:
        self.__value, self.__place, self.__keys, self.__stage = value, place, keys, stage

    def __getattr__(self, name: str) -> Any:
        key = f"{self.__place}{name}"
        value = getattr(self.__value, name)
        parts = key.split(".")
        if any(".".join(parts[:count]) in self.__keys for count in range(1, len(parts) + 1)):  # it, or what it is in
            return value
        if any(declared.startswith(f"{key}.") for declared in self.__keys):
            return _Part(value, f"{key}.", self.__keys, self.__stage)
        raise UndeclaredError(f"the stage {self.__stage!r} reads recipe.{key} and does not declare it")
