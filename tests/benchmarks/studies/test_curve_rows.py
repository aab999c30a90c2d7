"""Rows of A_PR: what a row holds, and that nothing is measured twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from secateur_studies import curve_rows
from secateur_studies.cifar_resnet import CifarResNet, cifar_resnet
from secateur_studies.cnn_curves import cifar10
from secateur_studies.curve_rows import STEPS, Method, Rows, Task
from torch import Tensor, nn

from secateur.pipeline.analysis.accuracy import count_right
from secateur.pipeline.analysis.pruning_curve import Shape
from secateur.pipeline.recover.compensate import compensate
from secateur.pipeline.structure.plan import Plan
from secateur.pipeline.structure.surgery import prune

MAGNITUDE = Method("by size", "magnitude")


@pytest.fixture
def task(vit: nn.Module, batches: list[tuple[Tensor, Tensor]]) -> Task:
    torch.set_num_threads(1)
    return Task("small", vit, batches, [(images, vit(images).argmax(1)) for images, _ in batches])


def test_a_row_is_a_curve_of_real_removals(task: Task, tmp_path: Path) -> None:
    rows = Rows(tmp_path / "rows.json", "rows", "command")
    rows.add(task, "neurons", "mlp_hidden", MAGNITUDE, 0)
    content = json.loads((tmp_path / "rows.json").read_text())
    assert (content["schema"], content["command"]) == ("secateur.rows/1", "command")
    dense = content["dense"]["small"]
    assert (dense["top1"], dense["images"], dense["reference_images"]) == (100.0, 12, 12)
    assert dense["macs"] == task.groups.macs()
    (row,) = content["rows"]
    assert (row["task"], row["units"], row["method"], row["seed"]) == ("small", "neurons", "by size", 0)
    assert [point["rate"] for point in row["points"]] == list(STEPS)
    assert row["a_pr"] == pytest.approx(sum(point["top1"] for point in row["points"]) / len(STEPS))
    plan = Shape(("mlp_hidden",), "global", (0.5,)).plan(task.groups, task.scores(MAGNITUDE, 0), 0.5)
    right, count = count_right(prune(task.model, plan, task.groups), task.judged)
    assert row["points"][5]["top1"] == 100.0 * right / count
    assert row["points"][5]["macs"] == task.groups.macs(plan.kept)


@pytest.mark.nightly
def test_what_is_there_is_not_measured_again(task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.json"
    Rows(path, "rows", "command").add(task, "neurons", "mlp_hidden", MAGNITUDE, 0)
    scored: list[int] = []
    original = curve_rows.score

    def counted(*args: object, **options: object) -> object:
        scored.append(1)
        return original(*args, **options)  # type: ignore[arg-type]  # passed through

    monkeypatch.setattr(curve_rows, "score", counted)
    again = Rows(path, "rows", "command")
    again.add(task, "neurons", "mlp_hidden", MAGNITUDE, 0)
    assert not scored
    again.add(task, "neurons", "mlp_hidden", MAGNITUDE, 1)
    again.add(task, "neurons", "mlp_hidden", Method("given", "none"), 0, lambda: task.scores(MAGNITUDE, 0))
    assert len(scored) == 2
    assert [row["seed"] for row in json.loads(path.read_text())["rows"]] == [0, 1, 0]


def test_a_repaired_point_is_compensated_with_the_reference_images(task: Task) -> None:
    scores = task.scores(MAGNITUDE, 0)
    plan: Plan = Shape(("mlp_hidden",), "global", (0.6,)).plan(task.groups, scores, 0.6)
    small = compensate(prune(task.model, plan, task.groups), task.model, plan, task.reference, groups=task.groups)
    right, count = count_right(small, task.judged)
    assert task.point(scores, "mlp_hidden", 0.6, repaired=True).top1 == 100.0 * right / count


def test_shortcuts_take_every_second_pixel_and_pad_with_zeros() -> None:
    block = CifarResNet(1).layer2[0]
    nn.init.zeros_(block.bn2.weight)  # the shortcut alone
    x = torch.rand(1, 16, 4, 4)
    out = block.eval()(x)
    assert out.shape == (1, 32, 2, 2)
    torch.testing.assert_close(out[:, 8:24], x[:, :, ::2, ::2])
    assert not out[:, :8].any()
    assert not out[:, 24:].any()


def test_real_weights_and_images_fit(real_data: Path) -> None:
    torch.set_num_threads(1)
    batches = cifar10(real_data / "cifar10", "test", 10)
    assert torch.cat([labels for _, labels in batches]).bincount().tolist() == [10] * 10
    right, count = count_right(cifar_resnet(real_data / "weights/cifar10_resnet20.safetensors"), batches)
    assert right >= 0.85 * count
