"""The comparison with GRAIL and SnapViT: which rows there are, at how many MACs, and what a row holds."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from secateur_studies import grail_peer, peers_frontier, snapvit_peer
from secateur_studies.peer_tasks import Subject
from secateur_studies.peers_frontier import CELLS, Bench, Peers, Row, main, rows, shares_of
from torch import Tensor, nn

from secateur.benchmarks.flops import count_macs
from secateur.core.errors import BenchError
from secateur.pipeline.scores.score import score
from secateur.pipeline.structure.groups import Groups
from tests.benchmarks.studies.subjects import small_subject

SEARCH = snapvit_peer.Search(4, 2, 1)


@pytest.fixture
def subject(vit: nn.Module, vit_groups: Groups) -> Subject:
    return small_subject(vit, vit_groups)


@pytest.fixture
def bench(subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A bench whose GRAIL leaves the first units, and whose SnapViT keeps the first hidden units and heads."""

    def select(peer: Any, model: nn.Module, grams: Any, selector: str, share: float, compensated: bool) -> nn.Module:
        if share > 1:
            raise BenchError("too much")
        peer.asked.append((selector, round(share, 3), compensated))
        kept = {g.name: range(round(g.units * (1 - share))) for g in subject.groups if g.kind == "mlp_hidden"}
        return peers_frontier.prune(model, peers_frontier.plan_from_kept(subject.groups, kept), subject.groups)

    def kept(peer: Any, model: nn.Module, groups: Any, scores: Any, mlp: float, head: float) -> dict[str, range]:
        shares = {"mlp_hidden": mlp, "head": head}
        return {g.name: range(round(g.units * (1 - shares[g.kind]))) for g in groups if g.kind in shares}

    def compensated(peer: Any, small: nn.Module, dense: nn.Module, narrowed: Any, grams: Any) -> nn.Module:
        peer.asked.append(sorted(narrowed.layers))
        return small

    grail = SimpleNamespace(asked=[])
    monkeypatch.setattr(grail_peer, "import_grail", lambda folder: grail)
    monkeypatch.setattr(grail_peer, "gather_grams", lambda *_: {"a": torch.ones(2, 2)})
    monkeypatch.setattr(grail_peer, "select", select)
    monkeypatch.setattr(grail_peer, "compensate_by_grail", compensated)
    monkeypatch.setattr(snapvit_peer, "import_snapvit", lambda folder: SimpleNamespace())
    monkeypatch.setattr(snapvit_peer, "score_by_snapvit", lambda *_: {"mlp": torch.ones(2, 2)})
    monkeypatch.setattr(snapvit_peer, "kept_by_snapvit", kept)
    bench = Bench(subject, tmp_path, Peers(tmp_path, tmp_path), SEARCH)
    score(subject.model, subject.groups, subject.calibration, "magnitude").save(tmp_path / "obs.safetensors")
    return bench


def test_every_way_is_measured_once() -> None:
    every = list(rows())
    assert len(set(every)) == len(every)
    for cell in CELLS:
        here = {(row.selection, row.repair) for row in every if (row.part, row.removed) == cell}
        assert {(f"GRAIL {name}", "GRAIL") for name in grail_peer.CLASSES} <= here
        assert {("secateur obs", "GRAIL"), ("SnapViT", "none"), ("SnapViT", "compensate")} <= here
    assert shares_of(Row("", "MLP", 0.5, "SnapViT", "none")) == (0.5, 0.0)
    assert shares_of(Row("", "both", 0.75, "SnapViT", "none")) == (0.75, 0.75)


def test_grail_cuts_as_many_macs_from_the_mlps_alone(bench: Bench) -> None:
    mlp, both, most = (Row("deit_tiny", *cell, "GRAIL wanda", "GRAIL") for cell in CELLS)
    assert bench.mlp_share(mlp) == pytest.approx(0.5)
    found = bench.measure(both)
    assert found["macs"] == pytest.approx(bench.limit(both), rel=0.01)
    assert bench.peers.grail.asked == [("wanda", round(bench.mlp_share(both), 3), True)]
    assert bench.measure(most) == {"error": "too much"}
    assert "search" not in found


def test_all_selections_are_compared_at_equal_macs(bench: Bench) -> None:
    for selection, repair in (("secateur obs", "none"), ("SnapViT", "compensate")):
        row = Row("deit_tiny", *CELLS[0], selection, repair)
        found = bench.measure(row)
        assert 0.97 * bench.limit(row) < found["macs"] <= bench.limit(row)
        assert 0 <= found["top1"] <= 100
        assert found.get("search") == ({"images": 4, "judged": 2, "evaluations": 1} if selection == "SnapViT" else None)
    with pytest.raises(BenchError, match="but the rows are compared at"):  # half of three heads is no number of heads
        bench.measure(Row("deit_tiny", *CELLS[1], "SnapViT", "none"))


def test_queries_and_keys_are_ours_only_where_a_row_says_so(bench: Bench) -> None:
    plain, ours = (
        bench.small(Row("deit_tiny", *CELLS[1], "secateur obs", repair))
        for repair in ("GRAIL", "GRAIL, query/key by secateur")
    )
    changed = [
        name for name, parameter in ours.named_parameters() if not torch.equal(parameter, plain.get_parameter(name))
    ]
    assert changed
    assert all(".qkv." in name for name in changed)
    for asked in bench.peers.grail.asked:
        assert {name.rpartition(".")[2] for name in asked} == {"fc2", "proj"}


def test_rows_are_measured_once_and_scores_are_kept(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Row] = []

    def measure(bench: Bench, row: Row) -> dict[str, Any]:
        asked.append(row)
        assert bench.search == SEARCH
        return {"top1": 1.0}

    monkeypatch.setattr(Bench, "measure", measure)
    monkeypatch.setattr(peers_frontier, "TASKS", dict.fromkeys(("deit_tiny", "resnet56"), lambda data: subject))
    words = ["--data", str(tmp_path), "--grail", str(tmp_path), "--snapvit", str(tmp_path)]
    words += ["--out", str(tmp_path / "rows.json"), "--images", "4", "--judged", "2", "--evaluations", "1"]
    assert CliRunner().invoke(main, [*words, "--only", "SnapViT"], catch_exceptions=False).exit_code == 0
    assert {row.selection for row in asked} == {"SnapViT"}
    for _ in range(2):
        assert CliRunner().invoke(main, words, catch_exceptions=False).exit_code == 0
    assert sorted(map(repr, asked)) == sorted(map(repr, rows()))
    content = json.loads((tmp_path / "rows.json").read_text())
    assert set(content["dense"]) == {"deit_tiny", "resnet56"}
    assert str(tmp_path) not in json.dumps(content)
    made: list[int] = []

    def scores() -> dict[str, Tensor]:
        made.append(1)
        return {"a": torch.ones(1)}

    bench = Bench(subject, tmp_path / "work", Peers(tmp_path, tmp_path), SEARCH)
    assert [bench._kept("there", scores)["a"].item() for _ in range(2)] == [1.0, 1.0]
    assert made == [1]
    assert count_macs(subject.model, subject.example).macs == subject.macs
