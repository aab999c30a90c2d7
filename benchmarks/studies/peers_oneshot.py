"""Torch-Pruning and secateur at equal MACs: one-shot accuracy on the same images, from one script.

`python -m secateur_studies.peers_oneshot --data ../shared/data --peer DIR` cuts MLP hidden units of DeiT-Tiny and
channels of EfficientNet-Lite0 and ResNet-56, in the ways of `contenders`. Finished rows are kept, so that it goes on
where it was stopped; with `--epochs`, all small models are distilled alike.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click
import torch
from secateur_studies.peer_pruning import import_peer, prune_peer, slopes
from secateur_studies.peer_tasks import TASKS, Subject
from torch import nn
from torch.optim.swa_utils import update_bn

from secateur.benchmarks.environment import environment
from secateur.benchmarks.flops import count_macs
from secateur.core.files import read_json, write_json
from secateur.pipeline.analysis.accuracy import accuracy
from secateur.pipeline.plan.budget import Budget
from secateur.pipeline.plan.make import make_plan
from secateur.pipeline.recover.compensate import compensate
from secateur.pipeline.recover.distill import distill
from secateur.pipeline.recover.spec import DistillSpec
from secateur.pipeline.scores.score import Scores, score
from secateur.pipeline.structure.surgery import prune

SCHEMA = "peers_oneshot"
DISTILLED = DistillSpec(batch_size=100, lr=1e-3, scale=0.7, mix=0.0, ema=0.9)


@dataclass(frozen=True)
class Contender:
    """One way to a small model: whose surgery, by which score, ranked how, over which units, repaired how.

    `units` is "same" for those that secateur's plan may take, "all" for whatever the peer can cut.
    """

    side: str
    score: str
    ranking: str
    repair: str
    units: str = "same"


def contenders(kind: str) -> list[Contender]:
    """All ways that are compared on units of a kind, the most telling ones first.

    The peer's convolutions get fresh batch statistics, as ours do.
    """
    fresh = "batch norm" if kind == "channel" else "none"
    ours = [("obs", "knapsack"), ("taylor", "global")]
    if kind == "channel":
        ours += [("magnitude", "global"), ("obs", "uniform"), ("taylor", "knapsack")]
    best, *others = [Contender("secateur", name, ranking, "compensate") for name, ranking in ours]
    isomorphic, uniform = (
        [Contender("torch-pruning", name, ranking, fresh) for name in ("magnitude", "taylor", "hessian")]
        for ranking in ("isomorphic", "uniform")
    )
    second, *rest = others
    every = [best, *isomorphic, second, *uniform]
    every += [Contender("secateur", name, ranking, "none") for name, ranking in ours[:2]]
    if kind == "channel":
        every += [replace(one, units="all") for one in every if one.side == "torch-pruning"]
    return [*every, *rest]


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True, help="Weights and images.")
@click.option("--peer", type=click.Path(path_type=Path, exists=True), required=True, help="Where torch-pruning lies.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("benchmarks/results/peers_oneshot.json"))
@click.option("--work", type=click.Path(path_type=Path), default=Path("runs/peers_oneshot"), show_default=True)
@click.option("--only", default="", help="Tasks to run, by the beginnings of their names. [default: all]")
@click.option("--removed", default="0.5", show_default=True, help="The shares of the MACs that go.")
@click.option("--epochs", default=0, show_default=True, help="Distil the small models for so many epochs.")
@click.option("--first", type=int, help="Only so many contenders of each task, the most telling ones. [default: all]")
def main(
    data: Path, peer: Path, out: Path, work: Path, only: str, removed: str, epochs: int, first: int | None
) -> None:
    """Measures the rows that are not in the file yet."""
    there = read_json(out, SCHEMA) if out.exists() else {"dense": {}, "rows": []}
    content: dict[str, Any] = {
        **there,
        "command": "python -m secateur_studies.peers_oneshot --data DATA --peer DIR",
        "environment": asdict(environment()),
        "peer": "torch-pruning 1.6.1",
        "distillation": asdict(DISTILLED),
    }
    module = import_peer(peer)
    subjects = {name: make(data) for name, make in TASKS.items() if name.startswith(tuple(only.split(",")))}
    planned = [
        (place, float(share), name, contender)
        for name, subject in subjects.items()
        for place, contender in enumerate(contenders(subject.kind)[:first])
        for share in removed.split(",")
    ]
    for _, share, name, contender in sorted(planned, key=lambda row: row[0]):
        key = {"task": name, "removed": share, "epochs": epochs, **asdict(contender)}
        if any(key.items() <= row.items() for row in content["rows"]):
            continue
        if name not in content["dense"]:
            content["dense"][name] = subjects[name].about()
        row = {**key, **measure(module, subjects[name], contender, share, epochs, work / name)}
        content["rows"].append(row)
        write_json(out, SCHEMA, content)
        click.echo(json.dumps(row), err=True)


def measure(
    peer: Any, subject: Subject, contender: Contender, removed: float, epochs: int, work: Path
) -> dict[str, Any]:
    """The MACs and top-1 of one row, or the error of a peer that cannot handle the model."""
    started = time.perf_counter()
    work.mkdir(parents=True, exist_ok=True)
    try:
        small = (_ours if contender.side == "secateur" else _theirs)(peer, subject, contender, removed, work)
        if contender.repair == "batch norm":
            update_bn(subject.calibration, small)
        if epochs:
            spec = replace(DISTILLED, epochs=epochs)
            small = distill(small, subject.model, subject.images, spec, subject.transform, work)
        top1 = accuracy(small, subject.judged)
    except Exception as error:  # a peer that fails on a model may raise anything
        if contender.side == "secateur":
            raise
        return {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"}
    cost = count_macs(small, subject.example)
    return {
        "macs": cost.macs,
        "params": cost.params,
        "top1": top1,
        "seconds": round(time.perf_counter() - started, 1),
    }


def _ours(peer: Any, subject: Subject, contender: Contender, removed: float, work: Path) -> nn.Module:
    place = work / f"{contender.score}.safetensors"
    if not place.exists():
        score(subject.model, subject.scored, subject.calibration, contender.score).save(place)
    limit = subject.limit(removed)
    plan = make_plan(
        *(subject.groups, Scores.load(place), Budget(macs=limit / subject.macs), contender.ranking),
        align=subject.align,
        kinds=(subject.kind,),
    )
    small = prune(subject.model, plan, subject.groups)
    if contender.repair == "none":
        return small
    return compensate(small, subject.model, plan, subject.calibration, groups=subject.groups)


def _theirs(peer: Any, subject: Subject, contender: Contender, removed: float, work: Path) -> nn.Module:
    place = work / f"slopes-{contender.score}.pt"
    if not place.exists():
        torch.save(slopes(subject.model, subject.calibration, contender.score), place)
    found = torch.load(place, weights_only=True)
    roots: Sequence[str] = subject.roots(contender.units)
    isomorphic = contender.ranking == "isomorphic"
    limit = subject.limit(removed)
    return prune_peer(peer, subject.model, subject.example, contender.score, isomorphic, found, roots, limit)


if __name__ == "__main__":
    main()
