"""The comparison of masks with other scores: rows at equal MACs, kept over restarts, and tasks of real images."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from secateur_studies import xpruner_curves
from secateur_studies.xpruner_curves import Curves, main
from secateur_studies.xpruner_tables import MAIN
from secateur_studies.xpruner_tasks import TASKS, Task, Way
from torch import nn

from secateur.pipeline.data.images import ArrayImages
from secateur.pipeline.data.loader import Loader
from secateur.pipeline.data.transform import Transform
from secateur.pipeline.plan.xpruner import Xpruner

TRANSFORM = Transform((3, 16, 16), (0.5,) * 3, (0.5,) * 3)
WAYS = (Way("magnitude", "magnitude"), Way("masks", "xmask", "xpruner", {"epochs": 1}))
TOP1 = {"top1", "top1_tuned", "top1_compensated", "top1_compensated_tuned"}


@pytest.fixture
def task(vit: nn.Module, monkeypatch: pytest.MonkeyPatch) -> Task:
    monkeypatch.setattr(xpruner_curves, "TUNED", replace(xpruner_curves.TUNED, batch_size=10, precision="no"))
    vit.num_classes = 5  # type: ignore[assignment]  # nn.Module wants Tensor | Module
    pixels = np.random.default_rng(0).integers(256, size=(30, 16, 16, 3), dtype=np.uint8)
    images = ArrayImages(pixels, np.arange(30, dtype=np.int64) % 5, tuple("abcde"))
    kinds, rates = ("head", "mlp_hidden"), Xpruner(steps=3, batch_size=10)
    return Task("vit", vit, TRANSFORM, kinds, images, Loader(images, TRANSFORM, 10), 4, (0.8, 0.6), {}, 1, 5, rates)


def measured(task: Task, folder: Path, seeds: int) -> dict[str, Any]:
    Curves(task, folder / "out.json", folder, "a command").measure(WAYS, task.macs, range(seeds))
    content: dict[str, Any] = json.loads((folder / "out.json").read_text())
    return content


@pytest.mark.nightly
def test_rows_are_measured_once_at_equal_macs_with_and_without_repair(task: Task, tmp_path: Path) -> None:
    before = {name: value.clone() for name, value in task.model.state_dict().items()}
    first = measured(task, tmp_path, 1)
    assert [(row["way"], row["macs"]) for row in first["rows"]] == [
        (way.label, macs) for macs in (0.8, 0.6) for way in WAYS
    ]
    for row in first["rows"]:
        assert 0.95 * row["macs"] < row["macs_share"] <= row["macs"]
        assert row.keys() >= TOP1
        assert all(0 <= row[name] <= 100 for name in TOP1)
    assert (first["dense"]["reference_images"], first["dense"]["tuning_images"]) == (20, 25)
    assert all(torch.equal(value, before[name]) for name, value in task.model.state_dict().items())
    second = measured(task, tmp_path, 2)
    assert second["rows"][:4] == first["rows"]  # seconds included: they were not measured again
    assert len(second["rows"]) == 8
    assert len(list(tmp_path.glob("vit-xmask-epochs=1-*.safetensors"))) == 2


def test_a_task_without_tuning_has_no_such_columns(task: Task, tmp_path: Path) -> None:
    object.__setattr__(task, "epochs", 0)
    row = measured(task, tmp_path, 1)["rows"][0]
    assert row.keys() & TOP1 == {"top1", "top1_compensated"}


@pytest.mark.nightly
def test_what_draws_nothing_has_one_row_for_all_seeds(task: Task, tmp_path: Path) -> None:
    object.__setattr__(task, "references", 6)  # all there are
    rows = measured(task, tmp_path, 3)["rows"]
    assert [(row["way"], row["seed"]) for row in rows if row["macs"] == 0.6] == [
        ("magnitude", 0),
        ("masks", 0),
        ("masks", 1),
        ("masks", 2),
    ]


def test_reference_images_differ_by_seed_and_are_of_every_class(task: Task) -> None:
    one, two = (task.images(seed) for seed in (0, 1))
    assert not np.array_equal(one.read(0), two.read(0)) or not np.array_equal(one.read(1), two.read(1))
    assert np.bincount(one.labels).tolist() == [4] * 5


def test_every_way_has_its_own_label_and_variants_change_one_option(task: Task) -> None:
    labels = [way.label for way in (*task.ways(), *task.variants())]
    assert len(set(labels)) == len(labels)
    assert [way.label for way in task.ways()] == list(MAIN)
    assert not set(MAIN) & {way.label for way in task.variants()}
    assert {way.allocate for way in task.ways()} == {"global", "xpruner"}
    smooth = [way.options.get("smooth", "classes") for way in task.variants()]
    assert {"units", "classes"} == set(smooth)


def test_the_swin_needs_its_weights(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["swin", "--data", str(tmp_path)])
    assert result.exit_code == 2
    assert "train its weights with train_swin_cifar" in result.output
    assert list(TASKS) == ["swin", "ten", "thousand"]
