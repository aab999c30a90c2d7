"""Which files a stage opens while it works, and which of them it has not declared."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from secateur.pipeline.data.images import FileImages
from secateur.pipeline.runs.context import Run
from secateur.pipeline.runs.declarations import CalibrationImages, DenseModel, HeldOutImages, Output
from secateur.pipeline.runs.manifest import Entry
from secateur.pipeline.runs.stage import Stage

_watching: list[list[Path]] = []


def _hook(event: str, details: tuple[Any, ...]) -> None:
    if _watching and event in ("open", "sqlite3.connect") and isinstance(details[0], str | bytes | os.PathLike):
        _watching[-1].append(Path.cwd() / os.fsdecode(details[0]))


@contextmanager
def opened() -> Iterator[list[Path]]:
    """The files that Python opens in the block; libraries that open files by themselves are not seen."""
    if _hook not in _HOOKS:
        sys.addaudithook(_hook)  # a hook stays until the process ends
        _HOOKS.append(_hook)
    _watching.append([])
    try:
        yield _watching[-1]
    finally:
        _watching.pop()


_HOOKS: list[Any] = []


def allowed(stage: Stage, run: Run, finished: dict[str, Entry]) -> tuple[set[Path], tuple[str, ...]]:
    """The files that a stage declares, and the patterns of those that it keeps in the run's folder."""
    reads, files = stage.declared(run.recipe), set()
    for one in reads:
        if isinstance(one, Output):
            files |= {(run.folder / name).resolve() for name in one.files(finished)}
    sides = {CalibrationImages(): run.data.calibration, HeldOutImages(): run.data.evaluation}
    for declaration, images in sides.items():
        if declaration in reads and isinstance(images, FileImages):
            files |= {path.resolve() for path in images.paths}
    if DenseModel() in reads and run.recipe.model.weights:
        files.add(Path(run.recipe.model.weights).resolve())
    return files, stage.keeps


def undeclared_opens(stage: Stage, run: Run, finished: dict[str, Entry], guarded: Sequence[Path]) -> list[str]:
    """The files below the `guarded` folders that a stage opens and has not declared; it is run for that.

    Its own outputs, which are written as `.NAME.secateur-x.part` beside them, are no matter.
    """
    files, keeps = allowed(stage, run, finished)
    inputs = stage.inputs(run, finished)
    with opened() as paths:
        written = stage.execute(inputs, lambda message: None)
    files |= {(run.folder / name).resolve() for name in written}
    found = []
    for path in dict.fromkeys(paths):
        if path.is_dir() or not any(path.is_relative_to(folder) for folder in guarded):
            continue
        real = path.parent / path.name[1:].rpartition(".")[0].rpartition(".")[0] if path.suffix == ".part" else path
        name = str(real.relative_to(run.folder)) if real.is_relative_to(run.folder) else ""
        if real.resolve() not in files and not any(fnmatch(name, pattern) for pattern in keeps):
            found.append(str(path))
    return found
