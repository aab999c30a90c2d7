"""What a finished stage has come to, in a few lines: how much goes, what it costs, what was repaired."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from secateur.export.artefacts import ExportFile
from secateur.pipeline.recover.repairs_file import RepairsFile
from secateur.pipeline.scores.score import Scores
from secateur.pipeline.structure.describe import GroupTable
from secateur.pipeline.structure.plan import Plan


def stage_facts(folder: Path, stage: str) -> tuple[str, ...]:
    """Lines on what a finished stage of a run did; none for a stage that has nothing to say but its files."""
    return FACTS[stage](folder) if stage in FACTS else ()


def _score(folder: Path) -> tuple[str, ...]:
    found = Scores.load(folder / "scores.safetensors")
    units = sum(value.shape[-1] for value in found.values.values())
    return (f"scored by {found.method}: {units:,} units in {len(found.values)} groups",)


def _plan(folder: Path) -> tuple[str, ...]:
    plan, table = Plan.load(folder / "plan.json"), GroupTable.load(folder / "groups.json")
    lines = [f"what stays: {plan.facts.sentence}"] if plan.facts else []
    for kind in dict.fromkeys(group.kind for group in table.groups):
        groups = [group for group in table.groups if group.kind == kind]
        units = sum(group.units for group in groups)
        gone = sum(group.units - len(plan.kept[group.name]) for group in groups if group.name in plan.kept)
        if gone:
            cut = sum(group.name in plan.kept for group in groups)
            lines.append(f"{kind}: {gone:,} of {units:,} units go, from {cut} of {len(groups)} groups")
    return tuple(lines) if plan.kept else (*lines, "no unit goes")


def _recover(folder: Path) -> tuple[str, ...]:
    if not (folder / "repairs.json").is_file():
        return ("nothing was repaired in closed form (recover.compensate is false)",)
    layers = [layer for layer in RepairsFile.load(folder / "repairs.json").layers if layer.way != "none"]
    before, after = sum(layer.error_before for layer in layers), sum(layer.error_after for layer in layers)
    share = f", whose error on held-out images falls to {after / before:.0%}" if before else ""
    return (f"repaired in closed form: {len(layers)} layers{share}",)


def _export(folder: Path) -> tuple[str, ...]:
    files = ExportFile.load(folder).files
    return tuple(f"{name}: {(folder / name).stat().st_size / 1e6:.2f} MB" for name in files)


FACTS: Mapping[str, Callable[[Path], tuple[str, ...]]] = {
    "score": _score,
    "plan": _plan,
    "prune": _plan,
    "recover": _recover,
    "export": _export,
}
