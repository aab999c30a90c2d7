"""What a recipe would do: its stages, with the sizes of what they work on; nothing is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from secateur.pipeline.report.least_time import passes, seconds_per_image
from secateur.pipeline.report.stage import ALL_STAGES
from secateur.pipeline.report.table import compact
from secateur.pipeline.runs.check import check_run
from secateur.pipeline.runs.context import Run
from secateur.pipeline.runs.manifest import read_manifest
from secateur.pipeline.runs.recipe import Recipe
from secateur.pipeline.runs.runner import open_run, overdue


@dataclass(frozen=True)
class Planned:
    """A stage that a recipe wants: why it would be done (empty where it is up to date), on what, and how long it took.

    `seconds` are those of the last time, where there was one in this folder; `least_seconds` are what its passes
    through the dense model take at least, as timed here, where the stage is to do and something is known.
    """

    name: str
    reason: str
    about: str = ""
    seconds: float | None = None
    least_seconds: float | None = None


@dataclass(frozen=True)
class DryRun:
    """The sizes of a run's model and images, in words, and its stages in their order."""

    sizes: dict[str, str]
    stages: tuple[Planned, ...]


def dry_run(recipe: Recipe, folder: Path, update: bool = False) -> DryRun:
    """What `run` would do with a recipe in a folder; the model is traced and the images are looked at.

    Raises what `run` raises before its first stage: for a recipe whose parts do not fit together, and for a folder of
    another recipe's run, unless `update` allows to change it.
    """
    if (folder / "recipe.yaml").exists() and not update:
        run = open_run(folder, recipe)
    else:
        run = Run(folder, recipe)
    check_run(run)
    late = dict(reason.split(": ", 1) for reason in overdue(run, stages=ALL_STAGES))
    done, about, least = read_manifest(folder), _about(run), _least(run, late)
    return DryRun(
        _sizes(run),
        tuple(
            Planned(
                stage.name,
                late.get(stage.name, ""),
                about.get(stage.name, ""),
                done[stage.name].seconds if stage.name in done else None,
                least.get(stage.name),
            )
            for stage in ALL_STAGES
            if stage.wanted(recipe)
        ),
    )


def _least(run: Run, late: Mapping[str, str]) -> dict[str, float]:
    """The least seconds of the stages that are to do, where passes through the dense model tell them."""
    known = {stage: count for stage, count in passes(run).items() if stage in late}
    each = seconds_per_image(run) if known else 0.0
    return {stage: count * each for stage, count in known.items()}


def _sizes(run: Run) -> dict[str, str]:
    """The model, the images and the budget in words."""
    groups, budget = run.groups, run.recipe.budget
    units = Counter(dict.fromkeys(dict.fromkeys(group.kind for group in groups), 0))
    for group in groups:
        units[group.kind] += group.units
    value = getattr(budget, budget.measure)
    where = f" on {budget.target}" if budget.target else ""
    known = budget.measure in ("macs", "params")
    limit = f": at most {compact(budget.limit(groups, []))}" if known else ""
    data = run.data
    return {
        "model": f"{run.recipe.model.name}, {compact(groups.macs())} MACs, {compact(groups.params())} parameters",
        "units": ", ".join(f"{count:,} {kind}" for kind, count in units.items()),
        "images": f"{len(data.calibration):,} to compute with, {len(data.evaluation):,} held out",
        "budget": f"{budget.measure} {value}{where}{limit}",
    }


def _about(run: Run) -> dict[str, str]:
    """What stages work on, by their names."""
    recipe = run.recipe
    score, recover, bench = recipe.score, recipe.recover, recipe.bench
    told = {
        "score": f"{score.told} on {run.calibration(score.samples_per_class, score.batch_size).samples:,} images",
        "plan": f"{recipe.plan.allocate}, widths in multiples of {recipe.plan.align}",
        "export": f"dense and pruned in {', '.join(recipe.export.precisions)}",
        "build": f"for {', '.join(recipe.export.targets) or 'no target'}",
    }
    if recover.compensate:
        images = run.calibration(recover.samples_per_class, recover.batch_size).samples
        told["recover"] = f"closed form on {images:,} images"
    passes = {"reconstruction": recover.reconstruct.epochs, "distillation": recover.distill.epochs}
    lessons = [f"{word} for {count} passes" for word, count in passes.items() if count]
    told["recover"] = ", ".join(filter(None, (told.get("recover", ""), *lessons))) or "nothing"
    ways = len(bench.targets) * len(recipe.export.precisions) * len(bench.batch) * len(bench.modes)
    told["bench"] = f"on {', '.join(bench.targets)}, at most {ways * bench.seconds:g} s of measuring"
    return told
