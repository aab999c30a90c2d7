"""Saving and loading small models without pickle."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from secateur.core.errors import ModelError
from secateur.pipeline.models.create import create_model
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.storage import load, save
from secateur.pipeline.structure.surgery import prune
from tests.pipeline.structure.test_surgery import random_plan

KWARGS = {"img_size": 16, "patch_size": 4, "embed_dim": 48, "depth": 2, "num_heads": 3, "num_classes": 5}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model = create_model("vit_tiny_patch16_224", **KWARGS)
    groups = find_groups(model, torch.zeros(1, 3, 16, 16))
    save(prune(model, random_plan(groups, 5, 0.4)), tmp_path / "small")
    return tmp_path / "small"


def test_a_loaded_model_gives_the_same_logits_in_another_process(folder: Path) -> None:
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    torch.save(x, folder / "x.pt")
    code = (
        "import sys, torch; from secateur.pipeline.structure.storage import load\n"
        "torch.save(load(sys.argv[1])(torch.load(sys.argv[1] + '/x.pt')), sys.argv[1] + '/y.pt')"
    )
    subprocess.run([sys.executable, "-P", "-c", code, str(folder)], check=True)
    assert torch.equal(load(folder)(x), torch.load(folder / "y.pt"))


def test_saving_a_loaded_model_again_writes_the_same_files(folder: Path, tmp_path: Path) -> None:
    save(load(folder), tmp_path / "again")
    for name in ("structure.json", "model.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_a_dense_model_is_saved_too(tmp_path: Path) -> None:
    model = create_model("vit_tiny_patch16_224", **KWARGS)
    save(model, tmp_path)
    x = torch.randn(1, 3, 16, 16)
    assert torch.equal(load(tmp_path)(x), model(x))


def test_damaged_weights_are_refused(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError, match="not the file that was saved"):
        load(folder)


def test_an_architecture_that_timm_builds_differently_now_is_named(folder: Path) -> None:
    content = json.loads((folder / "structure.json").read_text())
    content["model"]["kwargs"]["num_heads"] = 6
    (folder / "structure.json").write_text(json.dumps(content))
    with pytest.raises(ModelError, match="timm builds 'vit_tiny_patch16_224' differently"):
        load(folder)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"holds no structure\.json"):
        load(tmp_path)
