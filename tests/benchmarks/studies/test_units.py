"""The study of units: equal budgets for all of them, rows kept, and heads ranked against measured losses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from secateur_studies import units
from secateur_studies.units import budget_of, main
from torch import nn

from secateur.pipeline.structure.groups import Groups
from tests.benchmarks.studies.subjects import small_subject


def test_all_units_get_one_budget_and_what_cannot_meet_it_says_so(
    vit: nn.Module, vit_groups: Groups, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = small_subject(vit, vit_groups, align=4)
    monkeypatch.setattr(units, "TASKS", {units.TASK: lambda data: subject})
    monkeypatch.setattr(units, "UNITS", {name: units.UNITS[name] for name in ("heads", "everything")})
    monkeypatch.setattr(units, "REMOVED", (0.5,))
    monkeypatch.setattr(units, "ROUNDS", {1: ("heads", "everything"), 2: ("everything",)})
    monkeypatch.setattr(units, "METHODS", ("obs", "magnitude"))
    words = ["--data", str(tmp_path), "--out", str(tmp_path / "rows.json"), "--work", str(tmp_path / "work")]
    for _ in range(2):
        assert CliRunner().invoke(main, words, catch_exceptions=False).exit_code == 0
    found = json.loads((tmp_path / "rows.json").read_text())
    made = [(row["units"], row["rounds"]) for row in found["rows"]]
    assert made == [("heads", 1), ("everything", 1), ("everything", 2)]
    refused, *met = found["rows"]
    assert "cannot be met" in refused["refused"] and "top1" not in refused
    budget = budget_of(vit_groups, 0.5)
    for row in met:
        assert row["macs"] <= budget.limit(vit_groups, [])
        assert row["share_of_dense"] == pytest.approx(row["top1"] / found["dense"]["top1"])
        assert row["left"]["heads"] <= 6 and row["left"]["mlps"] <= 2
    assert [row["method"] for row in found["heads"]] == ["obs", "magnitude"]
    for row in found["heads"]:
        assert (row["heads"], row["images"]) == (6, 4)
        assert all(-1 <= rank <= 1 for rank in row["spearman"].values())
    assert found["heads"][0]["spearman"]["refit"] > 0.5
    assert str(tmp_path) not in (tmp_path / "rows.json").read_text()


def test_the_budget_is_a_share_of_attention_and_mlps(vit_groups: Groups) -> None:
    blocks = [term for term in vit_groups.terms if term.name.startswith("blocks.")]
    inside = sum(term.macs * np.prod([axis.size for axis in term.axes]) for term in blocks)
    dense = vit_groups.macs()
    assert budget_of(vit_groups, 0.4).macs == pytest.approx(1 - 0.4 * inside / dense)
