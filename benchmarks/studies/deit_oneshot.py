"""One-shot pruning of DeiT-Tiny on real weights and images: scores, allocations and repairs, row by row.

`python -m secateur_studies.deit_oneshot --data ../shared/data` removes shares of the MACs of the MLPs, of attention
and of both, with statistics from 1,000 images, and measures top-1 on 1,000 others. Nothing is chosen on the latter.
Finished rows and scores are kept, so that it goes on where it was stopped; the most telling rows come first. Several
processes may share the rows out among themselves: `--share 1/2` and `--share 2/2`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from secateur_studies.peer_tasks import Subject, deit_tiny
from torch import nn

from secateur.benchmarks.environment import environment
from secateur.core.files import locked, read_json, write_json
from secateur.pipeline.analysis.accuracy import accuracy
from secateur.pipeline.data.loader import Loader
from secateur.pipeline.plan.allocation import Instruments, Objective, find_allocation
from secateur.pipeline.plan.budget import Budget
from secateur.pipeline.plan.evolution import Evolution
from secateur.pipeline.plan.make import make_plan
from secateur.pipeline.plan.objective import divergence, remembered
from secateur.pipeline.recover.compensate import Statistics, gather_statistics, repair
from secateur.pipeline.recover.fast_repair import FastRepair
from secateur.pipeline.recover.spec import Compensation
from secateur.pipeline.scores.score import Scores, score
from secateur.pipeline.scores.token_weights import TOKEN_WEIGHTS
from secateur.pipeline.structure.groups import Groups, Kept, Kind
from secateur.pipeline.structure.plan import Plan
from secateur.pipeline.structure.surgery import prune

SCHEMA = "deit_oneshot"
PARTS: dict[str, tuple[Kind, ...]] = {
    "MLP": ("mlp_hidden",),
    "attention": ("qk_dim", "v_dim"),
    "both": ("mlp_hidden", "qk_dim", "v_dim"),
    "query/key": ("qk_dim",),
}
REPAIRS = {"none": None, "compensate": False, "front to back": True}
"""For each repair, whether it refits layers front to back as well."""
SCORES = ("obs", "taylor", "activation", "lrp", "magnitude")
ABLATIONS: tuple[dict[str, Any], ...] = (
    {"metric": "trace"},
    {"metric": "none"},
    *({"weights": name} for name in TOKEN_WEIGHTS.names() if name != "none"),
)
GRID = (*SCORES, "random", "xmask", "integrated_gradients")
MASKS = {"precision": "bf16", "epochs": 2}
"""Options of `xmask`: two passes over the images."""
MEASURING = ("sensitivity", "evolution")
MEASURED = 64
"""How many of the calibration images, evenly spread, measure the curves of `sensitivity`."""
EVOLUTION = Evolution(population=8, generations=2, images=32)
"""Small, since hundreds of rows are measured."""


@dataclass(frozen=True)
class Row:
    """The share of a part's MACs that goes, one choice of units, and one way to repair what they leave."""

    part: str
    removed: float
    score: str
    allocate: str
    repair: str
    options: dict[str, Any] = field(default_factory=dict)


def rows() -> Iterator[Row]:
    """All rows, the most telling ones first; some come again."""
    main_parts = ("MLP", "attention", "both")
    yield Row("MLP", 0.5, "obs", "knapsack", "compensate")
    yield Row("MLP", 0.5, "obs", "knapsack", "front to back")
    yield from (Row(part, 0.5, "obs", "knapsack", "compensate") for part in ("query/key", *main_parts))
    yield from (Row("MLP", 0.5, name, "global", "compensate") for name in SCORES)
    for removed in (0.25, 0.75):
        yield from (Row(part, removed, "obs", "knapsack", "compensate") for part in main_parts)
    for part in ("attention", "both"):
        yield from (Row(part, 0.5, name, "global", "compensate") for name in SCORES)
    yield from (Row("MLP", 0.5, name, "global", "none") for name in SCORES)
    for part in main_parts:
        yield from (Row(part, 0.5, name, "uniform", "compensate") for name in SCORES)
    yield from (Row("MLP", 0.5, "obs", allocate, "compensate") for allocate in MEASURING)
    yield from (Row("MLP", 0.5, "obs", "global", "compensate", options) for options in ABLATIONS)
    yield from (Row(part, 0.5, "obs", "knapsack", "front to back") for part in ("both", "attention"))
    cells = [(part, removed) for removed in (0.5, 0.75, 0.25) for part in main_parts]
    yield from (Row(*cell, "obs", "knapsack", "front to back") for cell in cells)
    for removed in (0.75, 0.25):
        for part in main_parts:
            yield from (Row(part, removed, name, "global", "compensate") for name in SCORES)
    yield from (Row(part, 0.5, "obs", allocate, "compensate") for part in main_parts for allocate in MEASURING)
    for cell in cells:
        for allocate in ("knapsack", "uniform", "global"):
            # where all heads keep as much, the repair finds the same best factors whichever dimensions go
            names = GRID[:1] if cell[0] == "attention" and allocate == "uniform" else GRID
            yield from (Row(*cell, name, allocate, "compensate") for name in names)
    for allocate in ("global", "knapsack", "uniform"):
        yield from (Row(*cell, name, allocate, "none") for cell in cells for name in GRID)
    yield from _measuring("sensitivity", cells)
    yield from (Row(part, 0.5, "obs", "global", "front to back") for part in main_parts)
    yield from (Row(*cell, "xmask", "knapsack", "front to back") for cell in cells)
    yield from _measuring("evolution", cells)


def _measuring(allocate: str, cells: Sequence[tuple[str, float]]) -> Iterator[Row]:
    """The rows of an allocation that measures, which take minutes each: those that measure less come first."""
    for way in ("none", "compensate"):
        for part, removed in cells:
            # curves of repaired attention are the same whichever dimensions go
            same = (part, way, allocate) == ("attention", "compensate", "sensitivity")
            yield from (Row(part, removed, name, allocate, way) for name in (GRID[:1] if same else GRID))


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True, help="Weights and images.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("benchmarks/results/deit_oneshot.json"))
@click.option("--work", type=click.Path(path_type=Path), default=Path("runs/deit_oneshot"), show_default=True)
@click.option("--share", default="1/1", show_default=True, help="Which of how many processes this is: K/N.")
def main(data: Path, out: Path, work: Path, share: str) -> None:
    """Measures the rows that are not in the file yet."""
    place, count = share_of(share)
    bench = Bench(deit_tiny(data), work)
    work.mkdir(parents=True, exist_ok=True)
    with locked(work / "rows.lock"):
        if not out.exists():
            write_json(out, SCHEMA, {"dense": bench.subject.about(), "rows": []})
    about = {
        "command": "python -m secateur_studies.deit_oneshot --data DATA",
        "environment": asdict(environment()),
        "threads": torch.get_num_threads(),
    }
    there = read_json(out, SCHEMA)  # what other processes add since are rows of theirs
    for row in list(_once(rows()))[place - 1 :: count]:
        if _there(row, there):
            continue
        found = bench.measure(row)
        with locked(work / "rows.lock"):
            content = read_json(out, SCHEMA) | about
            share_of_dense = found["top1"] / content["dense"]["top1"]
            content["rows"].append({**asdict(row), **found, "share_of_dense": share_of_dense})
            write_json(out, SCHEMA, content)
        click.echo(json.dumps(content["rows"][-1]), err=True)


def _once(every: Iterator[Row]) -> Iterator[Row]:
    """Each row where it comes first."""
    yield from {repr(row): row for row in every}.values()


def _there(row: Row, content: dict[str, Any]) -> bool:
    """Whether the row is among those that were measured."""
    return any(asdict(row).items() <= found.items() for found in content["rows"])


def share_of(text: str) -> tuple[int, int]:
    """K and N of "K/N"; raises `click.UsageError` for anything else."""
    place, _, count = text.partition("/")
    if not (place.isdecimal() and count.isdecimal() and 1 <= int(place) <= int(count)):
        raise click.UsageError(f"--share is {text!r}, but must be K/N with K from 1 to N, such as 1/2")
    return int(place), int(count)


@dataclass(frozen=True)
class Bench:
    """A model with its images, and a folder for scores."""

    subject: Subject
    work: Path

    def measure(self, row: Row) -> dict[str, Any]:
        """The MACs, widths, top-1 and seconds of one row, and what its repair did to the layers' errors."""
        subject, scores, started = self.subject, self.scores(row), time.perf_counter()
        plan = self.plan(row, scores)
        small: nn.Module = prune(subject.model, plan, subject.groups)
        planned, follows = time.perf_counter(), REPAIRS[row.repair]
        ways: list[dict[str, Any]] = []
        if follows is not None:
            small, repairs = repair(
                *(small, subject.model, plan, subject.calibration),
                *(Compensation(front_to_back=follows), subject.groups, self.statistics),
            )
            ways = [asdict(part) for part in repairs]
        seconds = {"plan_seconds": planned - started, "repair_seconds": time.perf_counter() - planned}
        widths = {g.name: len(plan.kept[g.name]) for g in subject.groups if g.name in plan.kept}
        cost = {"macs": subject.groups.macs(plan.kept), "kept": widths}
        return {**cost, "top1": accuracy(small, subject.judged), **seconds, "repairs": ways}

    @cached_property
    def statistics(self) -> Statistics:
        """The dense model's, which serve all plans."""
        return gather_statistics(self.subject.model, self.subject.groups, PARTS["both"], self.subject.calibration)

    def scores(self, row: Row) -> Scores:
        """The scores of all units, kept in the folder `work`."""
        place = self.work / f"{'-'.join([row.score, *row.options.values()])}.safetensors"
        with locked(place.with_suffix(".lock")):  # what one process computes, the others wait for
            if not place.exists():
                started = time.perf_counter()
                kinds = PARTS["MLP"] if row.options else PARTS["both"]
                options = MASKS if row.score == "xmask" else row.options
                scored = replace(self.subject.groups, groups=tuple(g for g in self.subject.groups if g.kind in kinds))
                score(self.subject.model, scored, self.subject.calibration, row.score, **options).save(place)
                click.echo(f"scored by {place.stem} in {time.perf_counter() - started:.0f} s", err=True)
        return Scores.load(place)

    def plan(self, row: Row, scores: Scores) -> Plan:
        """The units that stay."""
        groups, kinds = self.subject.groups, PARTS[row.part]
        gone: Kept = {group.name: () for group in groups if group.kind in kinds}
        share = row.removed * (1 - groups.macs(gone) / groups.macs())
        objective = self.objective(row) if row.allocate in MEASURING else None
        allocation = EVOLUTION if row.allocate == "evolution" else find_allocation(row.allocate)()
        allocation = replace(allocation, align=self.subject.align, kinds=kinds)
        return make_plan(groups, scores, Budget(macs=1 - share), allocation, Instruments(objective=objective))

    def objective(self, row: Row) -> Objective:
        """The divergence on some calibration images; its values are kept in the folder `work`."""
        inherits, images = row.repair != "none", EVOLUTION.images if row.allocate == "evolution" else MEASURED
        path = self.work / f"judged-{'heirs' if inherits else 'surgery'}-{images}.json"
        measured = remembered(lambda: self._objectives(inherits, images), path, "")
        return (lambda kept: measured(alike(self.subject.groups, kept))) if inherits else measured

    @cached_property
    def _objectives(self) -> Callable[[bool, int], Objective]:
        """Makes each objective once."""
        return cache(self._objective)

    def _objective(self, inherits: bool, images: int) -> Objective:
        """An objective of what surgery leaves, or of models that inherit weights by statistics of the other images."""
        model, groups, every = self.subject.model, self.subject.groups, self.subject.calibration
        judging = np.arange(0, len(every.images), max(len(every.images) // images, 1))
        pictures, others = (
            Loader(every.images, self.subject.transform, every.batch_size, chosen)
            for chosen in (judging, np.setdiff1d(np.arange(len(every.images)), judging))
        )
        small = FastRepair(model, groups, PARTS["both"], others) if inherits else None
        return divergence(model, groups, pictures, small)


def alike(groups: Groups, kept: Kept) -> Kept:
    """Of all candidates that are the same model once it inherits weights, the one to measure.

    Where the heads of a layer keep as many dimensions each, the repair mixes anew whichever dimensions there were.
    """
    first = dict(kept)
    for group in groups:
        if group.name in kept and group.kind in PARTS["attention"]:
            head = np.asarray(kept[group.name], dtype=int) // (group.units // group.blocks)
            counts = np.bincount(head, minlength=group.blocks)
            if len(set(counts.tolist())) == 1:
                every = np.arange(group.units).reshape(group.blocks, -1)
                first[group.name] = tuple(every[:, : counts[0]].ravel().tolist())
    return first


if __name__ == "__main__":
    main()
