"""Runs the stages of a run directory that are not up to date, and records each in the manifest."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from secateur.core.errors import RunError, SecateurError
from secateur.core.files import locked, remove_leftovers, sha256_json, sha256_once, write_text
from secateur.core.yaml_text import parse_yaml
from secateur.pipeline.runs.check import check_run
from secateur.pipeline.runs.context import Run, Store
from secateur.pipeline.runs.declarations import Output
from secateur.pipeline.runs.manifest import Entry, read_manifest, versions, write_manifest
from secateur.pipeline.runs.recipe import Recipe, make_recipe, plain
from secateur.pipeline.runs.run_folder import LOCK, RUN, check_free, check_there, claim, is_run
from secateur.pipeline.runs.stage import Stage
from secateur.pipeline.runs.stages import STAGES
from secateur.pipeline.runs.trust import check_trusted, remember

RECIPE = "recipe.yaml"
"""The name of a run's recipe in its folder."""
Report = Callable[[str, str], None]
"""Called as `report(stage, message)` while a run is at work."""


def open_run(folder: Path, recipe: Recipe | None = None, update: bool = False, store: Store | None = None) -> Run:
    """The run in `folder`, made new from `recipe` or read from its recipe.yaml.

    With `update`, a run of another recipe may be opened with this one, which `run_stages` then writes. Runs that are
    opened with one `store` load and trace what they have in common once.

    Raises `RunError` when the folder holds a run of another recipe (unless `update` allows to change it), holds
    other files, holds no run and no recipe is given, or when its recipe, which nobody gave, would import code that
    this user has not trusted (see `trust`).
    """
    store = store or Store()
    if recipe is not None:
        check_free(folder, RUN)
    if not (folder / RECIPE).exists():
        if recipe is None:
            raise RunError(f"{folder} holds no {RECIPE}: start a run with `secateur run RECIPE --out {folder}`")
        return _begun(Run(folder, recipe, store))
    there = _recipe_in(folder)
    if recipe is None:
        check_trusted(there, folder / RECIPE)
    if recipe is None or plain(recipe) == plain(there):
        return Run(folder, there, store)
    if not update:
        raise _of_another(folder, there, recipe)
    return Run(folder, recipe, store, replaces=there)


def trust_runs(*named: object) -> None:
    """Trusts the code that the recipes of these run directories name, from now on; what is no run is passed over."""
    for folder in (Path(one) for one in named if isinstance(one, str | Path)):
        if is_run(folder):
            check_trusted(_recipe_in(folder), folder / RECIPE, trust=True)


def run_stages(
    run: Run,
    until: str = "",
    report: Report = lambda stage, message: None,
    stages: Sequence[Stage] = STAGES,
    force: bool = False,
    begin: Callable[[], None] = lambda: None,
) -> dict[str, Entry]:
    """Brings the run up to date through the stage `until`, and returns the manifest's entries.

    `stages` are those of this room, through `bench`, unless `pipeline.report.stage.ALL_STAGES` is given; without
    `until`, all of them are done. `begin` is called first, while no other process may write into the folder.

    A stage is skipped when all that it declares (`Stage.reads`: parts of the recipe, weights, images, earlier outputs,
    versions, the machine) is as before and its outputs are unchanged on disk; with `force` the last one is done again
    all the same. Everything is written atomically, so that a killed run goes on from the last finished stage and ends
    with the same files.

    A recipe that replaces the run's is written once it has been checked, and taken back where no stage could be done
    with it: a command that is refused leaves the run as it was.
    """
    check_free(run.folder, RUN)
    with _held(run.folder):
        claim(run.folder, RUN)
        remove_leftovers(run.folder)
        run = replace(run)  # looks at weights and images as they are now
        before = _adopted(run)
        remember(run.recipe)
        done: list[str] = []
        try:
            begin()
            return _through_stages(run, until, report, stages, force, done)
        except Exception as error:
            check_there(run.folder, RUN, error)
            if before is not None and not done:
                write_text(run.folder / RECIPE, before)
            raise


def _through_stages(
    run: Run, until: str, report: Report, stages: Sequence[Stage], force: bool, done: list[str]
) -> dict[str, Entry]:
    """Does the stages that are not up to date, adds their names to `done`, and returns the manifest's entries."""
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
        check_there(run.folder, RUN)
        _drop(run.folder, before, entries)
        write_manifest(run.folder, entries)
        done.append(stage.name)
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


def _held(folder: Path) -> AbstractContextManager[None]:
    """Holds a run's folder for this process; raises `RunError` where another one works in it."""
    return locked(folder / LOCK, f"{folder} is in use by another secateur process: wait for it or choose another --out")


def _begun(run: Run) -> Run:
    """A new run, with its recipe on disk; raises the error of one that cannot work before anything is written."""
    check_run(run)
    with _held(run.folder):
        claim(run.folder, RUN)
        if not (run.folder / RECIPE).exists():
            write_text(run.folder / RECIPE, run.recipe.to_yaml())
            remember(run.recipe)
        elif plain(there := _recipe_in(run.folder)) != plain(run.recipe):  # of a process that began at the same time
            raise _of_another(run.folder, there, run.recipe)
    return run


def _adopted(run: Run) -> str | None:
    """Writes the recipe of a run that replaces the one on disk, and returns what stood there; None where none does.

    Raises the error of a recipe that cannot work, and `RunError` where another process has changed recipe.yaml since
    the run was opened; nothing is written then.
    """
    there = _recipe_in(run.folder)
    if plain(there) == plain(run.recipe):
        return None
    if run.replaces is None or plain(there) != plain(run.replaces):
        raise RunError(f"{run.folder / RECIPE} was changed by another process meanwhile: run the same command again")
    check_run(run)
    before = (run.folder / RECIPE).read_text(encoding="utf-8")
    write_text(run.folder / RECIPE, run.recipe.to_yaml())
    return before


def _recipe_in(folder: Path) -> Recipe:
    """The recipe in a run's folder."""
    path = folder / RECIPE
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read ({error}): delete {folder} and start again") from error
    return make_recipe(content if isinstance(content, dict) else {}, str(path))


def _of_another(folder: Path, there: Recipe, recipe: Recipe) -> RunError:
    """The error of a folder whose run is of another recipe."""
    changed = ", ".join(_differences(plain(there), plain(recipe)))
    return RunError(
        f"{folder} was made by another recipe ({changed} differ): choose another --out, or give --update to run "
        "the stages again that depend on the difference"
    )


def _differences(old: dict[str, object], new: dict[str, object], place: str = "") -> Iterator[str]:
    """The keys in which two plain recipes differ."""
    for key in sorted(old.keys() | new.keys()):
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from _differences(before, after, f"{place}{key}.")
        elif before != after:
            yield f"{place}{key}"
