"""What units to take: dimensions, heads, MLPs and whole layers at equal MACs, in one round and in several.

`python -m secateur_studies.units --data ../shared/data` prunes DeiT-Tiny by `obs` and `knapsack`, repairs it in closed
form on the unlabelled calibration images, and measures accuracy once a row on 1,000 other images. Of each score it says
how far its order of heads is that of the measured losses of single heads, on calibration images that the scores did not
see. Rows that are in the file are kept, and so are scores and finished rounds in `--work`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click
import torch
from scipy.stats import spearmanr
from secateur_studies.deit_oneshot import PARTS
from secateur_studies.peer_tasks import TASKS, Subject

from secateur.benchmarks.environment import environment
from secateur.core.errors import PlanError
from secateur.core.files import read_json, write_json
from secateur.pipeline.analysis.accuracy import accuracy
from secateur.pipeline.data.loader import Loader
from secateur.pipeline.plan.allocation import Instruments
from secateur.pipeline.plan.budget import Budget
from secateur.pipeline.plan.objective import divergence
from secateur.pipeline.plan.rounds import plan_in_rounds
from secateur.pipeline.recover.compensate import compensate
from secateur.pipeline.recover.fast_repair import FastRepair
from secateur.pipeline.recover.reconstruct import split
from secateur.pipeline.scores.score import Scores, score
from secateur.pipeline.structure.cutting import cut
from secateur.pipeline.structure.groups import LAYER_KINDS, Groups, Kept, Kind
from secateur.pipeline.structure.layers import with_layers
from secateur.pipeline.structure.plan import Plan
from secateur.pipeline.structure.surgery import prune

SCHEMA = "units"
TASK = "deit_tiny"
UNITS: dict[str, tuple[Kind, ...]] = {
    "dimensions": PARTS["both"],
    "heads": ("head",),
    "heads and MLPs": ("head", "mlp_hidden"),
    "layers": LAYER_KINDS,
    "everything": (*PARTS["both"], "head", *LAYER_KINDS),
}
REMOVED = (0.25, 0.5)
"""Shares of the MACs of attention and MLPs that go."""
ROUNDS = {1: tuple(UNITS), 4: ("dimensions", "everything")}
"""Which units go in how many rounds."""
METHODS = ("obs", "taylor", "activation", "magnitude", "lrp", "random")
HELD_OUT = 0.2
"""The share of the calibration images that the losses of single heads are measured on."""


@dataclass(frozen=True)
class Case:
    """Units, the share of the MACs that goes, and the number of rounds."""

    units: str
    removed: float
    rounds: int

    @property
    def name(self) -> str:
        """A folder's name."""
        return f"{self.units.replace(' ', '-')}-{self.removed:g}-{self.rounds}"


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True, help="Weights and images.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("benchmarks/results/units.json"))
@click.option("--work", type=click.Path(path_type=Path), default=Path("runs/units"), show_default=True)
def main(data: Path, out: Path, work: Path) -> None:
    """Measures the rows that are not in the file yet."""
    work.mkdir(parents=True, exist_ok=True)
    subject = TASKS[TASK](data)
    about = {
        "command": "python -m secateur_studies.units --data DATA",
        "environment": asdict(environment()),
        "threads": torch.get_num_threads(),
    }
    content: dict[str, Any] = (
        read_json(out, SCHEMA) if out.exists() else {"dense": subject.about(), "rows": [], "heads": []}
    )

    def keep(part: str, row: dict[str, Any]) -> None:
        content[part].append(row)
        write_json(out, SCHEMA, content | about)
        click.echo(json.dumps(row), err=True)

    for rounds, names in ROUNDS.items():
        for case in (Case(name, removed, rounds) for name in names for removed in REMOVED):
            if not any(asdict(case).items() <= row.items() for row in content["rows"]):
                keep("rows", {**asdict(case), **measure(subject, case, work, content["dense"]["top1"])})
        missing = [method for method in METHODS if all(method != row["method"] for row in content["heads"])]
        for row in correlations(subject, missing) if missing else ():
            keep("heads", row)


def measure(subject: Subject, case: Case, work: Path, dense: float) -> dict[str, Any]:
    """The MACs, top-1 and processor seconds of one row; of a budget that its units cannot meet, what was said."""
    began = time.process_time()
    try:
        plan = planned(subject, case, work)
    except PlanError as error:
        return {"refused": str(error)}
    seconds = {"plan_cpu_seconds": time.process_time() - began}
    began = time.process_time()
    small = prune(subject.model, plan, subject.groups)
    small = compensate(small, subject.model, plan, subject.calibration, groups=subject.groups)
    seconds["repair_cpu_seconds"] = time.process_time() - began
    top1 = accuracy(small, subject.judged)
    cost = {"macs": subject.groups.macs(plan.kept), "macs_dense": subject.groups.macs()}
    return {**cost, "top1": top1, "share_of_dense": top1 / dense, **seconds, "left": left_by(subject.groups, plan.kept)}


def planned(subject: Subject, case: Case, work: Path) -> Plan:
    """The units that stay; the scores of the dense model and finished rounds are kept in `work`."""
    groups, model = with_layers(subject.groups), subject.model
    place, folder = work / "obs.safetensors", work / case.name
    if not place.exists():
        wanted = {kind for kinds in UNITS.values() for kind in kinds}
        scored = replace(groups, groups=tuple(group for group in groups if group.kind in wanted))
        score(model, scored, subject.calibration, "obs").save(place)
    folder.mkdir(exist_ok=True)

    def repaired(plan: Plan) -> torch.nn.Module:
        small = cut(model, subject.groups, plan)
        return compensate(small, model, plan, subject.calibration, groups=subject.groups)

    return plan_in_rounds(
        *(model, groups, Scores.load(place), budget_of(subject.groups, case.removed)),
        rescore=lambda current, some: score(current, some, subject.calibration, "obs"),
        repaired=repaired,
        rounds=case.rounds,
        allocation="knapsack",
        instruments=Instruments(folder=folder, identity=TASK, say=lambda message: click.echo(message, err=True)),
        align=subject.align,
        kinds=UNITS[case.units],
    )


def budget_of(groups: Groups, removed: float) -> Budget:
    """The budget for which the share `removed` of the MACs of attention and MLPs goes."""
    gone: Kept = {group.name: () for group in groups if group.kind in (*PARTS["both"], "head")}
    whole = groups.macs() - groups.macs(gone)
    return Budget(macs=1 - removed * whole / groups.macs())


def left_by(groups: Groups, kept: Kept) -> dict[str, int]:
    """How many attentions, heads, MLPs and hidden units are left."""
    heads = [len(kept.get(group.name, range(group.units))) for group in groups if group.kind == "head"]
    hidden = [len(kept.get(group.name, range(group.units))) for group in groups if group.kind == "mlp_hidden"]
    attentions, mlps = (sum(count > 0 for count in counts) for counts in (heads, hidden))
    return {"attentions": attentions, "heads": sum(heads), "mlps": mlps, "hidden": sum(hidden)}


def correlations(subject: Subject, methods: Sequence[str]) -> Iterator[dict[str, Any]]:
    """How well each method's scores rank heads: Spearman's correlation with what answers lose without each head alone.

    That is measured as surgery leaves the model, and after the refit of the layer that reads the head, on calibration
    images that neither the refit nor the scores see.
    """
    images, transform, size = subject.calibration.images, subject.transform, subject.calibration.batch_size
    seen, held = (Loader(images, transform, size, part) for part in split(len(images), HELD_OUT, 0))
    model, groups = subject.model, subject.groups
    heads = replace(groups, groups=tuple(group for group in groups if group.kind == "head"))
    objectives = {
        "surgery": divergence(model, groups, held),
        "refit": divergence(model, groups, held, FastRepair(model, groups, ("head",), seen)),
    }
    losses: dict[str, list[float]] = {name: [] for name in objectives}
    for group in heads:
        for head in range(group.units):
            kept = {group.name: [unit for unit in range(group.units) if unit != head]}
            for name, objective in objectives.items():
                losses[name].append(objective(kept))
    for method in methods:
        found = score(model, heads, seen, method)
        order = torch.cat([found.by_unit(group.name) for group in heads]).tolist()
        ranks = {name: float(spearmanr(order, lost).statistic) for name, lost in losses.items()}
        yield {"method": method, "heads": len(order), "images": held.samples, "spearman": ranks}


if __name__ == "__main__":
    main()
