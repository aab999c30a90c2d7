"""The comparison with Torch-Pruning: what its importances are given, how its budget is met, and what a row holds."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner
from secateur_studies import peers_oneshot
from secateur_studies.peer_pruning import prune_peer, slopes
from secateur_studies.peer_tasks import Subject
from secateur_studies.peers_oneshot import Contender, contenders, main, measure
from torch import Tensor, nn

from secateur.benchmarks.flops import count_macs
from secateur.core.errors import BenchError, PlanError
from secateur.pipeline.data.images import ArrayImages
from secateur.pipeline.data.loader import Loader
from secateur.pipeline.data.transform import Transform

Batches = list[tuple[Tensor, Tensor]]
EXAMPLE = torch.zeros(1, 3, 16, 16)


class Narrower:
    """A pruner of fc1 and fc2 alone, which records what it was given."""

    seen: ClassVar[list[dict[str, Any]]]

    def __init__(self, model: nn.Module, example: Tensor, importance: str, **options: Any) -> None:
        self.model, self.ratio = model, options["pruning_ratio"]
        grads = {name: parameter.grad for name, parameter in model.named_parameters()}
        self.seen.append({"importance": importance, "grads": grads, **options})

    def step(self) -> None:
        for mlp in (module for module in self.model.modules() if hasattr(module, "fc1")):
            fc1, fc2 = mlp.fc1, mlp.fc2
            assert isinstance(fc1, nn.Linear)
            assert isinstance(fc2, nn.Linear)
            stays = int(fc1.out_features * (1 - self.ratio))
            fc1.weight, fc1.bias = nn.Parameter(fc1.weight[:stays]), nn.Parameter(fc1.bias[:stays])
            fc2.weight = nn.Parameter(fc2.weight[:, :stays])


@pytest.fixture
def peer() -> Any:
    class Pruner(Narrower):
        seen: ClassVar[list[dict[str, Any]]] = []

    names = ("GroupMagnitudeImportance", "GroupTaylorImportance", "GroupHessianImportance")
    return SimpleNamespace(
        importance=SimpleNamespace(**{name: (lambda name=name: name) for name in names}),
        pruner=SimpleNamespace(MetaPruner=Pruner),
    )


@pytest.fixture
def subject(vit: nn.Module) -> Subject:
    pixels = np.random.default_rng(0).integers(256, size=(20, 16, 16, 3), dtype=np.uint8)
    images = ArrayImages(pixels, np.arange(20, dtype=np.int64) % 5, tuple("abcde"))
    transform = Transform((3, 16, 16), (0.5,) * 3, (0.5,) * 3)
    loaders = [Loader(images, transform, 10) for _ in range(2)]
    return Subject(vit, "mlp_hidden", 8, ".mlp", images, transform, *loaders)


@pytest.mark.parametrize("importance", ["magnitude", "taylor", "hessian"])
def test_importances_are_given_means_over_all_images(importance: str, vit: nn.Module, batches: Batches) -> None:
    found = slopes(vit, batches, importance)
    images, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    weight = vit.get_parameter("blocks.1.mlp.fc1.weight")
    each = [
        torch.autograd.grad(F.cross_entropy(vit(images[i : i + 1]), labels[i : i + 1]), weight)[0]
        for i in range(len(images))
    ]
    expected = {
        "magnitude": torch.zeros_like(weight),
        "taylor": torch.stack(each).mean(0),
        "hessian": torch.stack(each).square().mean(0),
    }
    torch.testing.assert_close(found["blocks.1.mlp.fc1.weight"], expected[importance], rtol=1e-3, atol=1e-6)


def test_the_peer_meets_the_limit_and_sees_what_it_needs(peer: Any, vit: nn.Module) -> None:
    found = {name: torch.full_like(parameter, 2.0) for name, parameter in vit.named_parameters()}
    dense = count_macs(vit, EXAMPLE).macs
    roots = ["blocks.0.mlp.fc1", "blocks.1.mlp.fc1"]
    small = prune_peer(peer, vit, EXAMPLE, "taylor", True, found, roots, 0.7 * dense)
    assert 0.69 * dense < count_macs(small, EXAMPLE).macs <= 0.7 * dense
    assert count_macs(vit, EXAMPLE).macs == dense
    assert all(parameter.grad is None for parameter in small.parameters())
    first = peer.pruner.MetaPruner.seen[0]
    assert first["importance"] == "GroupTaylorImportance"
    assert first["isomorphic"] and first["global_pruning"]
    assert all(bool((grad == 2.0).all()) for grad in first["grads"].values())
    layers = sum(isinstance(module, nn.Conv2d | nn.Linear) for module in vit.modules())
    assert len(first["ignored_layers"]) == layers - 2
    with pytest.raises(BenchError, match="leaves more than"):
        prune_peer(peer, vit, EXAMPLE, "taylor", True, found, roots, 0.1 * dense)


def test_a_subject_says_what_goes_and_what_may_stay(subject: Subject) -> None:
    assert subject.roots("same") == ["blocks.0.mlp.fc1", "blocks.1.mlp.fc1"]
    assert "blocks.0.attn.qkv" in subject.roots("all")
    assert "head" not in subject.roots("all")
    hidden = 2 * 2 * 48 * 192 * 17  # blocks, layers, widths, tokens
    assert subject.limit(0.25) == pytest.approx(subject.macs - 0.25 * hidden)
    assert {group.kind for group in subject.scored} == {"mlp_hidden"}


@pytest.mark.parametrize("kind", ["mlp_hidden", "channel"])
def test_every_way_is_compared_once(kind: str) -> None:
    every = contenders(kind)
    assert len(set(every)) == len(every) == (19 if kind == "channel" else 10)
    assert every[0] == Contender("secateur", "obs", "knapsack", "compensate")
    assert {one.repair for one in every if one.side == "torch-pruning"} == {
        "batch norm" if kind == "channel" else "none"
    }


def test_both_sides_are_measured_at_equal_macs(peer: Any, subject: Subject, tmp_path: Path) -> None:
    rows = [
        measure(peer, subject, one, 0.5, 0, tmp_path)
        for one in (
            Contender("secateur", "taylor", "global", "compensate"),
            Contender("secateur", "taylor", "global", "none"),
            Contender("torch-pruning", "taylor", "isomorphic", "none"),
        )
    ]
    limit = subject.limit(0.5)
    assert all(0.97 * limit < row["macs"] <= limit for row in rows)
    assert all(0 <= row["top1"] <= 100 for row in rows)
    assert (tmp_path / "taylor.safetensors").exists()


def test_a_peer_that_fails_leaves_its_error_and_we_do_not_hide_ours(
    peer: Any, subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_arguments: object, **_options: object) -> None:
        raise PlanError("it broke\nbadly")

    peer.pruner.MetaPruner = broken
    row = measure(peer, subject, Contender("torch-pruning", "magnitude", "uniform", "none"), 0.5, 0, tmp_path)
    assert row == {"error": "PlanError: it broke badly"}
    monkeypatch.setattr(peers_oneshot, "make_plan", broken)
    with pytest.raises(PlanError, match="it broke"):
        measure(peer, subject, Contender("secateur", "magnitude", "global", "none"), 0.5, 0, tmp_path)


def test_rows_are_measured_once_and_the_most_telling_first(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[tuple[Contender, float]] = []

    def fake(peer: Any, subject: Subject, one: Contender, removed: float, epochs: int, work: Path) -> dict[str, Any]:
        measured.append((one, removed))
        return {"top1": 1.0}

    monkeypatch.setattr(peers_oneshot, "measure", fake)
    monkeypatch.setattr(peers_oneshot, "import_peer", lambda folder: None)
    monkeypatch.setattr(peers_oneshot, "TASKS", {"small": lambda data: subject})
    words = ["--data", str(tmp_path), "--peer", str(tmp_path), "--out", str(tmp_path / "rows.json")]
    first = [*words, "--removed", "0.5", "--first", "3"]
    assert CliRunner().invoke(main, first, catch_exceptions=False).exit_code == 0
    assert len(measured) == 3
    for removed in ("0.5", "0.25,0.5"):
        assert CliRunner().invoke(main, [*words, "--removed", removed], catch_exceptions=False).exit_code == 0
    assert [one for one, removed in measured if removed == 0.5] == contenders("mlp_hidden")
    assert len(measured) == 20
    content = json.loads((tmp_path / "rows.json").read_text())
    assert len(content["rows"]) == 20
    assert content["dense"]["small"]["images"] == 20
