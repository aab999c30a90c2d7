"""What a stage can declare that it reads, and by which words a change of it is known.

A declaration gives names and, for each, a hash (of content) or a plain value (of versions and machines). They make up
a stage's entry in the manifest, and when one of them changes the stage is done again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from secateur.benchmarks.environment import environment
from secateur.core import packages
from secateur.core.files import sha256_json, sha256_once
from secateur.core.import_path import is_import_path, source_digest
from secateur.export.targets import parse_target
from secateur.pipeline.runs.context import Run
from secateur.pipeline.runs.manifest import Entry
from secateur.pipeline.runs.recipe import plain


class Declaration(ABC):
    """Something that decides a stage's result."""

    @abstractmethod
    def identity(self, run: Run, finished: Mapping[str, Entry]) -> Mapping[str, str]:
        """What it is now, by name; `finished` are the stages before, which are up to date."""


@dataclass(frozen=True)
class RecipePart(Declaration):
    """A value of the recipe (`seed`), a section (`score`) or a value in one (`bench.threads`); `` is all of it.

    A file that a value names, such as a composite of relevance rules, counts by its content. All of the recipe counts
    as it is written.
    """

    key: str

    def identity(self, run: Run, finished: Mapping[str, Entry]) -> Mapping[str, str]:
        if not self.key:
            return {"recipe": sha256_json(plain(run.recipe))}
        value: Any = run.recipe
        for name in self.key.split("."):
            value = getattr(value, name)
        return {f"recipe.{self.key}": sha256_json(by_content(plain(value)))}


def recipe_parts(*keys: str) -> tuple[RecipePart, ...]:
    """Several parts of the recipe."""
    return tuple(RecipePart(key) for key in keys)


@dataclass(frozen=True)
class DenseModel(Declaration):
    """The dense model with its weights, and the groups that are found in it."""

    def identity(self, run: Run, finished: Mapping[str, Entry]) -> Mapping[str, str]:
        return run.model_identity


@dataclass(frozen=True)
class CalibrationImages(Declaration):
    """The images, labels and classes to compute with."""

    def identity(self, run: Run, finished: Mapping[str, Entry]) -> Mapping[str, str]:
        return {"calibration images": run.data.calibration.fingerprint()}


@dataclass(frozen=True)
class ClassNames(Declaration):
    """The names of what the model's outputs are about, in their order."""

    def identity(self, run: Run, finished: Mapping[str, Entry]) -> Mapping[str, str]:
        return {"class names": sha256_json(list(run.data.classes))}


@dataclass(frozen=True)
class HeldOutImages(Declaration):
    """The images, labels and classes that judge the result and serve nothing else."""

    def identity(self, run: Run, finished: Mapping[str, Entry]) -> Mapping[str, str]:
        return {"held-out images": run.data.evaluation.fingerprint()}


@dataclass(frozen=True)
class Output(Declaration):
    """The files that an earlier stage wrote, those that match `pattern`."""

    stage: str
    pattern: str = "*"

    def identity(self, run: Run, finished: Mapping[str, Entry]) -> Mapping[str, str]:
        return self.files(finished)

    def files(self, finished: Mapping[str, Entry]) -> Mapping[str, str]:
        """The files by name in the run directory, each with the SHA-256 of its content."""
        entry = finished.get(self.stage)
        written = entry.outputs if entry else {}
        return {name: digest for name, digest in written.items() if fnmatch(name, self.pattern)}


@dataclass(frozen=True)
class Found(Declaration):
    """A file that another command left in the run's folder, or beside it (`../sweep.json`), where there is one."""

    name: str

    def identity(self, run: Run, finished: Mapping[str, Entry]) -> Mapping[str, str]:
        path = run.folder / self.name
        return {f"file {self.name}": sha256_once(path) if path.is_file() else "none"}


class Packages(Declaration):
    """The versions of packages whose code decides the result; secateur's own is always among them."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def identity(self, run: Run, finished: Mapping[str, Entry]) -> Mapping[str, str]:
        return {f"package {name}": _version(name) for name in ("secateur", *self.names)}


@dataclass(frozen=True)
class Runtimes(Declaration):
    """What builds the engines of the recipe's targets: the runtimes' versions, the platform, and the GPU where one
    builds for the GPU that is there.
    """

    def identity(self, run: Run, finished: Mapping[str, Entry]) -> Mapping[str, str]:
        machine = environment(run.recipe.bench.threads)
        goals = [parse_target(name) for name in (*run.recipe.export.targets, *run.recipe.bench.targets)]
        found = {f"package {goal.runtime}": _version(goal.runtime) for goal in goals if goal.runtime != "torch"}
        found["machine platform"] = f"{machine.os.partition(' ')[0]} {machine.machine}"
        if any(goal.needs_build for goal in goals):
            found["machine gpu"] = machine.gpu.capability if machine.gpu else "none"
        return found


@dataclass(frozen=True)
class Machine(Declaration):
    """The machine and the runtimes that latency is measured with, as far as the recipe's targets go."""

    def identity(self, run: Run, finished: Mapping[str, Entry]) -> Mapping[str, str]:
        goals = [parse_target(name) for name in run.recipe.bench.targets]
        machine = environment(run.recipe.bench.threads)
        found = {f"package {goal.runtime}": _version(goal.runtime) for goal in goals}
        for goal in goals:
            found |= {f"machine {key}": value for key, value in machine.kind(str(goal)).items() if key != "runtime"}
            if goal.device != "cpu":
                found["machine driver"] = machine.driver or "none"
        return found


def _version(package: str) -> str:
    return packages.version_of(package) or "absent"


def by_content(value: Any) -> Any:
    """Plain values with the content's hash in the place of each word that names a file or a function of the user's."""
    if isinstance(value, dict):
        return {key: by_content(item) for key, item in value.items()}
    if isinstance(value, list):
        return [by_content(item) for item in value]
    if isinstance(value, str) and is_import_path(value):
        return [value, source_digest(value)]
    return sha256_once(Path(value)) if isinstance(value, str) and Path(value).is_file() else value
