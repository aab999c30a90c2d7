"""The study of the frontier: one start for all ways, rows kept, and images held out from the start on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from secateur_studies import frontier
from secateur_studies.frontier import Case, main
from torch import nn

from secateur.pipeline.data.loader import Loader
from secateur.pipeline.recover.compensate import compensate
from secateur.pipeline.recover.reconstruct import split
from secateur.pipeline.recover.spec import DistillSpec, ReconstructSpec
from secateur.pipeline.structure.groups import Groups
from tests.benchmarks.studies.subjects import small_subject

WAYS = {
    "closed form": None,
    "reconstructed": ReconstructSpec(epochs=1, batch_size=9, lr=1e-4, precision="no"),
    "distilled": DistillSpec(epochs=1, batch_size=10),
}


def test_all_ways_start_from_one_repair_that_has_not_seen_the_images_held_out(
    vit: nn.Module, vit_groups: Groups, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = small_subject(vit, vit_groups)
    seen: list[int] = []

    def counted(small: nn.Module, dense: nn.Module, plan: Any, loader: Loader, **options: Any) -> nn.Module:
        seen.append(loader.samples)
        pictures = torch.cat([batch for batch, _ in loader])
        held = torch.stack([subject.transform(subject.images.read(int(index))) for index in split(20, 0.1, 0)[1]])
        assert not any(torch.equal(one, other) for one in pictures for other in held)
        return compensate(small, dense, plan, loader, **options)

    monkeypatch.setattr(frontier, "compensate", counted)
    monkeypatch.setattr(frontier, "TASKS", {"tiny": lambda data: subject})
    monkeypatch.setattr(frontier, "CASES", (Case("tiny", "MLP", ("mlp_hidden",), 0.5),))
    monkeypatch.setattr(frontier, "WAYS", WAYS)
    words = ["--data", str(tmp_path), "--out", str(tmp_path / "rows.json"), "--work", str(tmp_path / "work")]
    for _ in range(2):
        assert CliRunner().invoke(main, words, catch_exceptions=False).exit_code == 0
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert [row["way"] for row in rows] == list(WAYS)
    assert seen == [18]
    dense, mlps = vit_groups.macs(), {g.name: () for g in vit_groups if g.kind == "mlp_hidden"}
    for row in rows:
        assert row["macs"] <= dense - 0.5 * (dense - vit_groups.macs(mlps))
    assert rows[1]["held_out"] == 2
    assert str(tmp_path) not in (tmp_path / "rows.json").read_text()
