"""Runs the stages of a run directory that are not up to date, and records each in the manifest."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
import yaml

from secateur.core.errors import RunError
from secateur.core.files import locked, sha256_file, sha256_json, write_text
from secateur.pipeline.runs.check import check_run
from secateur.pipeline.runs.context import Run
from secateur.pipeline.runs.manifest import Entry, read_manifest, versions, write_manifest
from secateur.pipeline.runs.recipe import Recipe, make_recipe, plain
from secateur.pipeline.runs.stages import STAGES, Stage

Report = Callable[[str, str], None]
"""Called as `report(stage, message)` while a run is at work."""


def open_run(folder: Path, recipe: Recipe | None = None, update: bool = False) -> Run:
    """The run in `folder`, made new from `recipe` or read from its recipe.yaml.

    Raises `RunError` when the folder holds a run of another recipe (unless `update` allows to change it), holds
    other files, or holds no run and no recipe is given.
    """
    path = folder / "recipe.yaml"
    if not path.exists():
        if recipe is None:
            raise RunError(f"{folder} holds no recipe.yaml: start a run with `secateur run RECIPE --out {folder}`")
        if folder.exists() and (not folder.is_dir() or any(not p.name.startswith(".") for p in folder.iterdir())):
            raise RunError(f"{folder} is not empty and holds no run: choose an empty or new folder with --out")
        return _written(Run(folder, recipe))
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise RunError(f"{path} cannot be read ({error}): delete {folder} and start again") from error
    there = make_recipe(content if isinstance(content, dict) else {}, str(path))
    if recipe is None or plain(recipe) == plain(there):
        return Run(folder, there)
    if not update:
        changed = ", ".join(_differences(plain(there), plain(recipe)))
        raise RunError(
            f"{folder} was made by another recipe ({changed} differ): choose another --out, or give --update to run "
            "the stages again that depend on the difference"
        )
    return _written(Run(folder, recipe))


def run_stages(
    run: Run,
    until: str = "",
    report: Report = lambda stage, message: None,
    stages: Sequence[Stage] = STAGES,
) -> dict[str, Entry]:
    """Brings the run up to date through the stage `until` (the last of `stages` unless given).

    Returns the manifest's entries.

    A stage is skipped when its inputs (the recipe's part, images, weights and the outputs it reads) hash as before
    and its outputs are unchanged on disk. Everything is written atomically, so that a killed run goes on from the
    last finished stage and ends with the same files.
    """
    busy = f"{run.folder} is in use by another secateur process: wait for it or choose another --out"
    with locked(run.folder / ".lock", busy):
        for leftover in run.folder.rglob(".*.part"):  # a killed process cannot remove its temporary files
            leftover.unlink()
        entries = read_manifest(run.folder)
        names = [stage.name for stage in stages]
        for stage in stages[: names.index(until or names[-1]) + 1]:
            inputs = _input_hash(stage, run, entries)
            if stage.name in entries and entries[stage.name].holds(run.folder, inputs):
                report(stage.name, "up to date")
                continue
            report(stage.name, "")
            started = time.perf_counter()
            torch.manual_seed(run.recipe.seed)
            written = stage.execute(run, lambda message, name=stage.name: report(name, message))  # type: ignore[misc]
            outputs = {name: sha256_file(run.folder / name) for name in written}
            seconds = round(time.perf_counter() - started, 3)
            entries[stage.name] = Entry(inputs, outputs, seconds, versions(), run.recipe.seed)
            write_manifest(run.folder, entries)
            report(stage.name, f"done in {seconds:.1f} s")
        return entries


def _written(run: Run) -> Run:
    """The run, with its recipe on disk; raises the error of a recipe that cannot work before anything is written."""
    check_run(run)
    write_text(run.folder / "recipe.yaml", run.recipe.to_yaml())
    return run


def _input_hash(stage: Stage, run: Run, entries: dict[str, Entry]) -> str:
    return sha256_json({**stage.inputs(run), "after": {name: dict(entries[name].outputs) for name in stage.after}})


def _differences(old: dict[str, object], new: dict[str, object], place: str = "") -> Iterator[str]:
    """The keys in which two plain recipes differ."""
    for key in sorted(old.keys() | new.keys()):
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from _differences(before, after, f"{place}{key}.")
        elif before != after:
            yield f"{place}{key}"
