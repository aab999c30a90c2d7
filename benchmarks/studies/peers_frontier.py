"""GRAIL, SnapViT and secateur at equal MACs: one-shot accuracy on the same images, from one script.

`python -m secateur_studies.peers_frontier --data ../shared/data --grail DIR --snapvit DIR` cuts the MLPs of DeiT-Tiny,
or its MLPs and attention, and channels of ResNet-56, with statistics from 1,000 images without labels and accuracy on
1,000 others. Every selection is repaired in each way that there is for it. GRAIL's own selectors cut MLPs alone, so for
a budget of both they cut those further, as long as that suffices; SnapViT cuts whole heads where secateur's plan takes
dimensions of them. What `grail_peer` and `snapvit_peer` had to change is said there. Finished rows, scores and Gram
matrices are kept, so that it goes on where it was stopped.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import click
import torch
from safetensors.torch import load_file
from secateur_studies import grail_peer, snapvit_peer
from secateur_studies.peer_tasks import TASKS, Subject
from secateur_studies.snapvit_peer import Pictures, Search
from torch import Tensor, nn

from secateur.benchmarks.environment import environment
from secateur.benchmarks.flops import count_macs
from secateur.core.errors import BenchError
from secateur.core.files import read_json, write_json, write_tensors
from secateur.pipeline.analysis.accuracy import accuracy
from secateur.pipeline.plan.budget import Budget
from secateur.pipeline.plan.make import make_plan
from secateur.pipeline.recover.compensate import RIDGES, Statistics, gather_statistics, refit, repair
from secateur.pipeline.recover.narrowed import narrowed_by
from secateur.pipeline.recover.spec import Compensation
from secateur.pipeline.scores.score import Scores, score
from secateur.pipeline.structure.groups import Kind
from secateur.pipeline.structure.plan import Plan, plan_from_kept
from secateur.pipeline.structure.surgery import prune

SCHEMA = "peers_frontier"
CELLS = (("MLP", 0.5), ("both", 0.5), ("both", 0.75))
"""The parts of DeiT-Tiny, and the shares of their MACs that go."""
PARTS: dict[str, tuple[tuple[Kind, ...], tuple[str, ...]]] = {
    "MLP": (("mlp_hidden",), (".mlp",)),
    "both": (("mlp_hidden", "qk_dim", "v_dim"), (".mlp", ".attn")),
    "all": (("channel",), ("",)),
}
"""For each part, the kinds of units that go, and the ends of the names of the modules whose MACs count."""
OURS = {"none": None, "compensate": False, "front to back": True}
"""For each of our repairs, whether it refits layers front to back as well."""
Shares = tuple[float, float]
"""Of hidden units and of heads."""


@dataclass(frozen=True)
class Row:
    """The share of a part's MACs that goes, who chooses the units, and who repairs what they leave."""

    task: str
    part: str
    removed: float
    selection: str
    repair: str


def rows() -> Iterator[Row]:
    """All rows, the most telling ones first; our own ways on DeiT-Tiny are in `deit_oneshot`."""
    tiny = "deit_tiny"
    yield from (Row(tiny, *cell, "secateur obs", "GRAIL") for cell in CELLS)
    yield from (Row(tiny, *CELLS[0], f"GRAIL {name}", "GRAIL") for name in grail_peer.CLASSES)
    for way in ("compensate", "none"):
        yield from (Row(tiny, *cell, "SnapViT", way) for cell in CELLS)
    yield from (Row(tiny, *cell, "secateur obs", "GRAIL, query/key by secateur") for cell in CELLS[1:])
    for cell in CELLS[1:]:
        yield from (Row(tiny, *cell, f"GRAIL {name}", "GRAIL") for name in grail_peer.CLASSES)
    yield from (Row(tiny, *cell, "SnapViT", "SparseGPT of SnapViT") for cell in CELLS)
    yield from (Row("resnet56", "all", 0.5, "secateur obs", way) for way in ("GRAIL", "compensate", "none"))
    for cell in CELLS[:2]:
        yield from (Row(tiny, *cell, f"GRAIL {name}", "none") for name in grail_peer.CLASSES)
    yield from (Row(tiny, *cell, "SnapViT", "front to back") for cell in CELLS)


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True, help="Weights and images.")
@click.option(
    "--grail", type=click.Path(path_type=Path, exists=True), required=True, help="GRAIL's folder grail-vision."
)
@click.option(
    "--snapvit", type=click.Path(path_type=Path, exists=True), required=True, help="Where SnapViT's code lies."
)
@click.option("--out", type=click.Path(path_type=Path), default=Path("benchmarks/results/peers_frontier.json"))
@click.option("--work", type=click.Path(path_type=Path), default=Path("runs/peers_frontier"), show_default=True)
@click.option("--only", default="", help="The beginning of the selections to measure. [default: all]")
@click.option("--images", default=Search.images, show_default=True, help="For SnapViT's slopes and its correction.")
@click.option("--judged", default=Search.judged, show_default=True, help="For SnapViT's search of block weights.")
@click.option("--evaluations", default=Search.evaluations, show_default=True, help="Of SnapViT's search.")
def main(
    data: Path, grail: Path, snapvit: Path, out: Path, work: Path, only: str, images: int, judged: int, evaluations: int
) -> None:
    """Measures the rows that are not in the file yet."""
    search = Search(images, judged, evaluations)
    content: dict[str, Any] = read_json(out, SCHEMA) if out.exists() else {"dense": {}, "rows": []}
    content |= {
        "command": "python -m secateur_studies.peers_frontier --data DATA --grail DIR --snapvit DIR",
        "environment": asdict(environment()),
        "threads": torch.get_num_threads(),
        "peers": {"GRAIL": grail_peer.REVISION, "SnapViT": snapvit_peer.REVISION},
    }
    peers = Peers(grail, snapvit)
    benches: dict[str, Bench] = {}
    for row in rows():
        if not row.selection.startswith(only) or any(asdict(row).items() <= there.items() for there in content["rows"]):
            continue
        bench = benches.setdefault(row.task, Bench(TASKS[row.task](data), work / row.task, peers, search))
        if row.task not in content["dense"]:
            content["dense"][row.task] = bench.subject.about()
        content["rows"].append({**asdict(row), **bench.measure(row)})
        write_json(out, SCHEMA, content)
        click.echo(json.dumps(content["rows"][-1]), err=True)


@dataclass(frozen=True)
class Peers:
    """Where the peers' code lies; each is imported when a row asks for it."""

    grail_folder: Path
    snapvit_folder: Path

    @cached_property
    def grail(self) -> Any:
        """GRAIL's functions."""
        return grail_peer.import_grail(self.grail_folder)

    @cached_property
    def snapvit(self) -> Any:
        """SnapViT's functions."""
        return snapvit_peer.import_snapvit(self.snapvit_folder)


@dataclass(frozen=True)
class Bench:
    """A model with its images, a folder for scores and Gram matrices, the peers, and how much SnapViT searches."""

    subject: Subject
    work: Path
    peers: Peers
    search: Search

    def measure(self, row: Row) -> dict[str, Any]:
        """The MACs, parameters, top-1 and CPU seconds of one row, or why there is no such small model."""
        started = time.process_time()
        try:
            small = self.small(row)
        except BenchError as error:
            return {"error": str(error)}
        seconds = round(time.process_time() - started, 1)
        cost = count_macs(small, self.subject.example)
        limit = self.limit(row)
        if cost.macs > 1.001 * limit:
            raise BenchError(f"{row} leaves {cost.macs:.4g} MACs, but the rows are compared at {limit:.4g}")
        found = {"macs": cost.macs, "params": cost.params, "top1": accuracy(small, self.subject.judged)}
        searched = {"search": asdict(self.search)} if row.selection == "SnapViT" else {}
        return {**found, "cpu_seconds": seconds, **searched}

    def limit(self, row: Row) -> float:
        """The most MACs of a small model, by fvcore."""
        return replace(self.subject, within=PARTS[row.part][1]).limit(row.removed)

    def mlp_share(self, row: Row) -> float:
        """The share of the MLPs with as many MACs as what a row removes; more than 1 where they do not suffice."""
        mlps = self.subject.macs - self.limit(replace(row, part="MLP", removed=1.0))
        return (self.subject.macs - self.limit(row)) / mlps

    def small(self, row: Row) -> nn.Module:
        """The small model of a row; raises `BenchError` where the peer cannot make one."""
        side, _, selector = row.selection.partition(" ")
        if side == "GRAIL":
            compensated = row.repair == "GRAIL"
            return grail_peer.select(
                self.peers.grail, self.subject.model, self.grams, selector, self.mlp_share(row), compensated
            )
        if row.repair == "SparseGPT of SnapViT":
            return self.corrected(row)
        plan = self.plan(row)
        small = prune(self.subject.model, plan, self.subject.groups)
        return self.by_grail(row, small, plan) if row.repair.startswith("GRAIL") else self.by_us(row, small, plan)

    def plan(self, row: Row) -> Plan:
        """The units that stay, by our scores and knapsack or by SnapViT's."""
        model, groups = self.subject.model, self.subject.groups
        if row.selection == "SnapViT":
            kept = snapvit_peer.kept_by_snapvit(self.peers.snapvit, model, groups, self.snapvit_scores, *shares_of(row))
            return plan_from_kept(groups, kept)
        budget = Budget(macs=self.limit(row) / self.subject.macs)
        kinds = PARTS[row.part][0]
        return make_plan(groups, self.obs, budget, "knapsack", align=self.subject.align, kinds=kinds)

    def by_grail(self, row: Row, small: nn.Module, plan: Plan) -> nn.Module:
        """GRAIL's compensation of what our surgery left, behind our repair of queries and keys where a row says so."""
        dense = self.subject.model
        narrowed = narrowed_by(dense, self.subject.groups, plan)
        if row.repair.endswith("query/key by secateur"):
            refit(small, dense, replace(narrowed, layers={}), self.statistics, RIDGES)
        return grail_peer.compensate_by_grail(self.peers.grail, small, dense, narrowed, self.grams)

    def by_us(self, row: Row, small: nn.Module, plan: Plan) -> nn.Module:
        """Our repair of what our surgery left, or nothing at all."""
        follows = OURS[row.repair]
        if follows is None:
            return small
        options, statistics = Compensation(front_to_back=follows), self.statistics
        subject = self.subject
        return repair(small, subject.model, plan, subject.calibration, options, subject.groups, statistics)[0]

    def corrected(self, row: Row) -> nn.Module:
        """SnapViT's selection with its own correction."""
        pictures = Pictures(self.subject.images, self.subject.transform, self.search.images)
        shares = shares_of(row)
        return snapvit_peer.corrected(self.peers.snapvit, self.subject.model, self.snapvit_scores, shares, pictures)

    @cached_property
    def statistics(self) -> Statistics:
        """The dense model's, which serve all plans."""
        kinds = PARTS["all" if self.subject.kind == "channel" else "both"][0]
        return gather_statistics(self.subject.model, self.subject.groups, kinds, self.subject.calibration)

    @cached_property
    def obs(self) -> Scores:
        """Our scores, kept in the folder `work`."""
        place, kinds = self.work / "obs.safetensors", PARTS["all" if self.subject.kind == "channel" else "both"][0]
        if not place.exists():
            groups = self.subject.groups
            scored = replace(groups, groups=tuple(group for group in groups if group.kind in kinds))
            self.work.mkdir(parents=True, exist_ok=True)
            score(self.subject.model, scored, self.subject.calibration, "obs").save(place)
        return Scores.load(place)

    @cached_property
    def grams(self) -> Mapping[str, Tensor]:
        """GRAIL's statistics of the dense model, kept in the folder `work`."""
        return self._kept(
            "grams", lambda: grail_peer.gather_grams(self.peers.grail, self.subject.model, self.subject.calibration)
        )

    @cached_property
    def snapvit_scores(self) -> Mapping[str, Tensor]:
        """SnapViT's, kept in the folder `work` by how much was searched."""
        subject, search = self.subject, self.search
        return self._kept(
            f"snapvit-{search.images}-{search.judged}-{search.evaluations}",
            lambda: snapvit_peer.score_by_snapvit(
                self.peers.snapvit, subject.model, subject.images, subject.transform, search
            ),
        )

    def _kept(self, name: str, make: Callable[[], Mapping[str, Tensor]]) -> Mapping[str, Tensor]:
        """Tensors in a file of the folder `work`, which are made where there is none."""
        place = self.work / f"{name}.safetensors"
        if not place.exists():
            started = time.process_time()
            self.work.mkdir(parents=True, exist_ok=True)
            write_tensors(place, make(), {})
            click.echo(f"{name} took {time.process_time() - started:.0f} CPU s", err=True)
        return load_file(place)


def shares_of(row: Row) -> Shares:
    """The shares of hidden units and of heads that SnapViT removes: half of the heads are half of attention's MACs."""
    return row.removed, 0.0 if row.part == "MLP" else row.removed


if __name__ == "__main__":
    main()
