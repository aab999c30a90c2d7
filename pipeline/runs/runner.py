"""Runs the stages of a run directory that are not up to date, and records each in the manifest."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
import yaml

from secateur.core.errors import RunError, SecateurError
from secateur.core.files import locked, sha256_json, sha256_once, write_text
from secateur.pipeline.runs.check import check_run
from secateur.pipeline.runs.context import Run, Store
from secateur.pipeline.runs.declarations import Output
from secateur.pipeline.runs.manifest import Entry, read_manifest, versions, write_manifest
from secateur.pipeline.runs.recipe import Recipe, make_recipe, plain
from secateur.pipeline.runs.stage import Stage
from secateur.pipeline.runs.stages import STAGES

Report = Callable[[str, str], None]
"""Called as `report(stage, message)` while a run is at work."""


def open_run(folder: Path, recipe: Recipe | None = None, update: bool = False, store: Store | None = None) -> Run:
    """The run in `folder`, made new from `recipe` or read from its recipe.yaml.

    Runs that are opened with one `store` load and trace what they have in common once.

    Raises `RunError` when the folder holds a run of another recipe (unless `update` allows to change it), holds
    other files, or holds no run and no recipe is given.
    """
    path, store = folder / "recipe.yaml", store or Store()
    if not path.exists():
        if recipe is None:
            raise RunError(f"{folder} holds no recipe.yaml: start a run with `secateur run RECIPE --out {folder}`")
        if folder.exists() and (not folder.is_dir() or any(not p.name.startswith(".") for p in folder.iterdir())):
            raise RunError(f"{folder} is not empty and holds no run: choose an empty or new folder with --out")
        return _written(Run(folder, recipe, store))
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise RunError(f"{path} cannot be read ({error}): delete {folder} and start again") from error
    there = make_recipe(content if isinstance(content, dict) else {}, str(path))
    if recipe is None or plain(recipe) == plain(there):
        return Run(folder, there, store)
    if not update:
        changed = ", ".join(_differences(plain(there), plain(recipe)))
        raise RunError(
            f"{folder} was made by another recipe ({changed} differ): choose another --out, or give --update to run "
            "the stages again that depend on the difference"
        )
    return _written(Run(folder, recipe, store))


def run_stages(
    run: Run,
    until: str = "",
    report: Report = lambda stage, message: None,
    stages: Sequence[Stage] = STAGES,
    force: bool = False,
) -> dict[str, Entry]:
    """Brings the run up to date through the stage `until`, and returns the manifest's entries.

    `stages` are those of this room, through `bench`, unless `pipeline.report.stage.ALL_STAGES` is given; without
    `until`, all of them are done.

    A stage is skipped when all that it declares (`Stage.reads`: parts of the recipe, weights, images, earlier outputs,
    versions, the machine) is as before and its outputs are unchanged on disk; with `force` the last one is done again
    all the same. Everything is written atomically, so that a killed run goes on from the last finished stage and ends
    with the same files.
    """
    busy = f"{run.folder} is in use by another secateur process: wait for it or choose another --out"
    with locked(run.folder / ".lock", busy):
        for leftover in run.folder.rglob(".*.part"):  # a killed process cannot remove its temporary files
            leftover.unlink()
        run = replace(run)  # looks at weights and images as they are now
        entries = read_manifest(run.folder)
        for stage in _through(stages, until):
            if not stage.wanted(run.recipe):
                entries.pop(stage.name, None)
                continue
            reads, before = stage.identity(run, entries), entries.get(stage.name)
            redo = force and stage.name == (until or stages[-1].name)
            if not redo and before is not None and not before.changes(run.folder, reads):
                report(stage.name, "up to date")
                continue
            report(stage.name, "")
            entries[stage.name] = _done(stage, run, entries, reads, report)
            _drop(run.folder, before, entries)
            write_manifest(run.folder, entries)
            report(stage.name, f"done in {entries[stage.name].seconds:.1f} s")
        return entries


def current_run(folder: Path, until: str) -> Run:
    """The run in a folder; raises `RunError` where its stages through `until` are not up to date."""
    run = open_run(folder)
    if reasons := overdue(run, until):
        raise RunError(
            f"{folder} is not up to date ({reasons[0]}): bring it up to date with `secateur {until} {folder}` first"
        )
    return run


def overdue(run: Run, until: str = "", stages: Sequence[Stage] = STAGES) -> tuple[str, ...]:
    """Why the stages through `until` would be done again by `run_stages`: a sentence for each that is not up to date.

    `bench: machine threads changed from 4 to 2`. Nothing is written; weights and images are looked at. What cannot be
    looked at here, because a run was copied without its images, say, is a reason too.
    """
    run, entries = replace(run), read_manifest(run.folder)
    found: dict[str, str] = {}
    for stage in _through(stages, until):
        if not stage.wanted(run.recipe):
            entries.pop(stage.name, None)
            continue
        makers = {one.stage for one in stage.declared(run.recipe) if isinstance(one, Output)}
        late = [name for name in found if name in makers]
        entry = entries.get(stage.name)
        try:
            reasons = (
                ["it was never done"] if entry is None else [*entry.changes(run.folder, stage.identity(run, entries))]
            )
        except SecateurError as error:
            reasons = [f"what it reads cannot be looked at ({error})"]
        if reasons or late:
            found[stage.name] = "; ".join([*reasons, *(f"{name} is not up to date" for name in late)])
    return tuple(f"{name}: {reasons}" for name, reasons in found.items())


def _through(stages: Sequence[Stage], until: str) -> Sequence[Stage]:
    """The stages up to the one called `until`, or all of them."""
    names = [stage.name for stage in stages]
    return stages[: names.index(until or names[-1]) + 1]


def _done(stage: Stage, run: Run, entries: Mapping[str, Entry], reads: Mapping[str, str], report: Report) -> Entry:
    """What the manifest says of a stage, after it was done."""
    started = time.perf_counter()
    torch.manual_seed(run.recipe.seed)
    written = stage.execute(stage.inputs(run, entries), partial(report, stage.name))
    outputs = {name: sha256_once(run.folder / name) for name in written}
    seconds = round(time.perf_counter() - started, 3)
    inputs = sha256_json({"stage": stage.name, **reads})
    return Entry(inputs, outputs, seconds, versions(), run.recipe.seed, reads)


def _drop(folder: Path, before: Entry | None, entries: Mapping[str, Entry]) -> None:
    """Removes what a stage wrote before and does not write any more: nobody may take it for a result of this recipe."""
    current = {name for entry in entries.values() for name in entry.outputs}
    for name in before.outputs if before else ():
        if name not in current:
            (folder / name).unlink(missing_ok=True)


def _written(run: Run) -> Run:
    """The run, with its recipe on disk; raises the error of a recipe that cannot work before anything is written."""
    check_run(run)
    write_text(run.folder / "recipe.yaml", run.recipe.to_yaml())
    return run


def _differences(old: dict[str, object], new: dict[str, object], place: str = "") -> Iterator[str]:
    """The keys in which two plain recipes differ."""
    for key in sorted(old.keys() | new.keys()):
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from _differences(before, after, f"{place}{key}.")
        elif before != after:
            yield f"{place}{key}"
