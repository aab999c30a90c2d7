"""The accuracy frontier: what reconstruction brings back at high rates, beside closed form and plain distillation.

`python -m secateur_studies.frontier --data ../shared/data` prunes by `obs` and `knapsack`, repairs front to back and
reconstructs, all on the same unlabelled calibration images, of which a part is held out for every choice; accuracy is
measured once a row, on 1,000 other images. Rows that are in the file are kept, and so are repaired models in `--work`.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click
import torch
from safetensors.torch import load_file, save_file
from secateur_studies.deit_oneshot import PARTS
from secateur_studies.peer_tasks import TASKS, Subject
from torch import nn

from secateur.benchmarks.environment import environment
from secateur.core.files import locked, read_json, write_json
from secateur.pipeline.analysis.accuracy import accuracy
from secateur.pipeline.data.loader import Loader
from secateur.pipeline.plan.budget import Budget
from secateur.pipeline.plan.make import make_plan
from secateur.pipeline.recover.compensate import compensate
from secateur.pipeline.recover.distill import distill
from secateur.pipeline.recover.reconstruct import rebuild, split
from secateur.pipeline.recover.spec import DistillSpec, ReconstructSpec
from secateur.pipeline.scores.score import Scores, score
from secateur.pipeline.structure.groups import Kept, Kind
from secateur.pipeline.structure.plan import Plan
from secateur.pipeline.structure.surgery import prune

SCHEMA = "frontier"


@dataclass(frozen=True)
class Case:
    """A share of the MACs of some kinds of units that goes from a subject."""

    task: str
    part: str
    kinds: tuple[Kind, ...]
    removed: float

    @property
    def name(self) -> str:
        """A file's name."""
        return f"{self.task}-{self.part}-{self.removed:g}"


CASES = (
    Case("deit_tiny", "both", PARTS["both"], 0.5),
    Case("deit_tiny", "both", PARTS["both"], 0.75),
    Case("deit_tiny", "MLP", PARTS["MLP"], 0.5),
    Case("efficientnet_lite0", "all", ("channel",), 0.5),
    Case("resnet56", "all", ("channel",), 0.5),
)
WAYS: dict[str, ReconstructSpec | DistillSpec | None] = {
    "closed form": None,
    "reconstructed": ReconstructSpec(epochs=15),
    "answers alone": ReconstructSpec(epochs=15, features=0.0),
    "distilled": DistillSpec(epochs=15, batch_size=50),
}


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True, help="Weights and images.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("benchmarks/results/frontier.json"))
@click.option("--work", type=click.Path(path_type=Path), default=Path("runs/frontier"), show_default=True)
@click.option("--only", default="", help="Cases to run, by the beginning of their names. [default: all]")
@click.option("--way", type=click.Choice(list(WAYS)), multiple=True, help="Ways to run. [default: all]")
@click.option("--seeds", default=1, show_default=True, help="How often what is drawn is drawn.")
def main(data: Path, out: Path, work: Path, only: str, way: tuple[str, ...], seeds: int) -> None:
    """Measures the rows that are not in the file yet."""
    work.mkdir(parents=True, exist_ok=True)
    about = {
        "command": "python -m secateur_studies.frontier --data DATA",
        "environment": asdict(environment()),
        "threads": torch.get_num_threads(),
    }
    subjects: dict[str, Subject] = {}
    for case in CASES:
        if not case.name.startswith(only):
            continue
        subject = subjects.setdefault(case.task, TASKS[case.task](data))
        for name in way or WAYS:
            for seed in range(seeds if WAYS[name] else 1):
                key = {**asdict(case), "kinds": list(case.kinds), "way": name, "seed": seed}
                if out.exists() and any(key.items() <= row.items() for row in read_json(out, SCHEMA)["rows"]):
                    continue
                row = {**key, **measure(subject, case, name, seed, work)}
                with locked(work / "rows.lock"):
                    content = read_json(out, SCHEMA) if out.exists() else {"dense": {}, "rows": []}
                    if case.task not in content["dense"]:
                        content["dense"][case.task] = subject.about()
                    row["share_of_dense"] = row["top1"] / content["dense"][case.task]["top1"]
                    content["rows"].append(row)
                    write_json(out, SCHEMA, content | about)
                click.echo(json.dumps(row), err=True)


def measure(subject: Subject, case: Case, way: str, seed: int, work: Path) -> dict[str, Any]:
    """The MACs, top-1 and processor seconds of one row, and what its reconstruction did."""
    plan = planned(subject, case, work)
    small = repaired(subject, case, plan, seed, work)
    began, started = time.process_time(), time.perf_counter()
    spec, facts = WAYS[way], {}
    images = subject.calibration.images  # those that statistics come from
    if isinstance(spec, ReconstructSpec):
        small, found = rebuild(
            *(small, subject.model, subject.groups, plan, images, spec, subject.transform),
            folder=folder(work, case, way, seed),
            seed=seed,
            say=lambda message: click.echo(f"{case.name}, {way}: {message}", err=True),
        )
        facts = asdict(found)
    elif isinstance(spec, DistillSpec):
        small = distill(small, subject.model, images, spec, subject.transform, folder(work, case, way, seed), seed)
    seconds = {"cpu_seconds": time.process_time() - began, "seconds": time.perf_counter() - started}
    cost = {"macs": subject.groups.macs(plan.kept), "macs_dense": subject.groups.macs()}
    return {**cost, "top1": accuracy(small, subject.judged), **seconds, "spec": asdict(spec) if spec else {}, **facts}


def planned(subject: Subject, case: Case, work: Path) -> Plan:
    """The units that stay, by scores that are kept in the folder `work`."""
    place = work / f"{case.task}-obs.safetensors"
    kinds = tuple(dict.fromkeys(kind for one in CASES if one.task == case.task for kind in one.kinds))
    with locked(place.with_suffix(".lock")):
        if not place.exists():
            scored = replace(subject.groups, groups=tuple(g for g in subject.groups if g.kind in kinds))
            score(subject.model, scored, subject.calibration, "obs").save(place)
    gone: Kept = {group.name: () for group in subject.groups if group.kind in case.kinds}
    whole = subject.groups.macs() if not subject.within else subject.groups.macs() - subject.groups.macs(gone)
    budget = Budget(macs=1 - case.removed * whole / subject.groups.macs())
    return make_plan(subject.groups, Scores.load(place), budget, "knapsack", align=subject.align, kinds=case.kinds)


def repaired(subject: Subject, case: Case, plan: Plan, seed: int, work: Path) -> nn.Module:
    """The pruned model, repaired in closed form by the images that are not held out; its weights are kept in `work`."""
    small, place = prune(subject.model, plan, subject.groups), work / f"{case.name}-{seed}.safetensors"
    with locked(place.with_suffix(".lock")):
        if not place.exists():
            taught, _ = split(len(subject.calibration.images), ReconstructSpec().held_out, seed)
            loader = Loader(subject.calibration.images, subject.transform, subject.calibration.batch_size, taught)
            found = compensate(small, subject.model, plan, loader, groups=subject.groups)
            save_file({name: value.contiguous() for name, value in found.state_dict().items()}, place)
    small.load_state_dict(load_file(place))
    return small


def folder(work: Path, case: Case, way: str, seed: int) -> Path:
    """Where the checkpoint of a row lies."""
    found = work / f"{case.name}-{way.replace(' ', '-')}-{seed}"
    found.mkdir(exist_ok=True)
    return found


if __name__ == "__main__":
    main()
