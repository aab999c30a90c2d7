"""The small Swin: shifted windows on every size, and a training whose weights can be read again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from secateur_studies import train_swin_cifar
from secateur_studies.cifar_resnet import CifarResNet
from secateur_studies.train_swin_cifar import LESSON, cifar_swin, main

from secateur.pipeline.data.images import ArrayImages


def test_it_is_a_swin_with_shifted_windows_and_merging() -> None:
    swin = cifar_swin()
    shifts = [
        int(module.shift_size[0]) for name, module in swin.named_modules() if name.endswith(("blocks.0", "blocks.1"))
    ]
    assert shifts[:4] == [0, 2, 0, 2]
    assert 2e6 < sum(part.numel() for part in swin.parameters()) < 3e6
    assert swin(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_a_training_writes_weights_that_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(0).integers(256, size=(20, 32, 32, 3), dtype=np.uint8)
    images = ArrayImages(pixels, np.arange(20, dtype=np.int64) % 10, tuple("abcdefghij"))
    monkeypatch.setattr(train_swin_cifar, "images_of", lambda _data, _side: images)
    monkeypatch.setattr(train_swin_cifar, "cifar_resnet", lambda _path: CifarResNet(1).eval())
    monkeypatch.setattr(train_swin_cifar, "LESSON", replace(LESSON, batch_size=10, workers=0, precision="no"))
    out = tmp_path / "swin.safetensors"
    result = CliRunner().invoke(main, ["--data", str(tmp_path), "--out", str(out), "--epochs", "1"])
    assert result.exit_code == 0, result.output
    assert "step 2 of 2" in result.output
    assert "on 10,000 test images" in result.output
    torch.manual_seed(0)
    before, after = (model.get_parameter("head.fc.weight") for model in (cifar_swin(), cifar_swin(out)))
    assert not torch.equal(before, after)
