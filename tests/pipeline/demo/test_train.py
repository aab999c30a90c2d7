"""The training of the demo's model: seeded, learning, and on calibration images only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from secateur.pipeline.analysis.accuracy import accuracy
from secateur.pipeline.data.dataset import open_data
from secateur.pipeline.data.loader import Loader
from secateur.pipeline.demo import train as training
from secateur.pipeline.demo.model import KWARGS, NAME
from secateur.pipeline.demo.train import main, train
from secateur.pipeline.models.create import create_model
from secateur.pipeline.models.inputs import transform_for


def fresh() -> nn.Module:
    torch.manual_seed(0)
    return create_model(NAME, **{**KWARGS, "img_size": 8, "embed_dim": 48, "depth": 1, "num_heads": 3})


@pytest.fixture(scope="module")
def loader() -> Loader:
    return Loader(open_data("digits").calibration, transform_for(fresh()), indices=np.arange(160))


def test_it_learns_and_the_seed_decides(loader: Loader) -> None:
    before = accuracy(fresh(), loader)
    one, same, other = (train(fresh(), loader, 12, seed, batch=32) for seed in (0, 0, 1))
    assert accuracy(one, loader) > before + 30
    pairs = list(zip(one.state_dict().values(), same.state_dict().values(), strict=True))
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not torch.equal(one.head.weight, other.head.weight)


def test_the_command_writes_weights_that_fit_the_demos_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def trained(model: nn.Module, loader: Loader, epochs: int, seed: int) -> nn.Module:
        seen.extend([loader.samples, epochs, seed])
        return model

    monkeypatch.setattr(training, "train", trained)
    done = CliRunner().invoke(main, ["--out", str(tmp_path / "w.safetensors"), "--epochs", "3"])
    assert done.exit_code == 0, done.output
    assert "top-1" in done.output
    assert seen == [len(open_data("digits").calibration), 3, 0]  # the held-out digits are not trained on
    assert create_model(NAME, weights=tmp_path / "w.safetensors", **KWARGS).num_classes == 10
