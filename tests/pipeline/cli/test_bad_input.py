"""Bad input to `secateur run`: one sentence on stderr, exit code 2, and no half-written file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

from secateur.pipeline.cli import main
from secateur.pipeline.models.create import create_model

SIZES = {"img_size": 16, "patch_size": 4, "embed_dim": 48, "depth": 1, "num_heads": 3, "num_classes": 2}
Recipe = dict[str, dict[str, object]]


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    """A recipe that works: two classes of four images each, and a checkpoint that fits."""
    draws = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(4):
            pixels = draws.integers(0, 255, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{number}.png")
    save_file(create_model("vit_tiny_patch16_224", **SIZES).state_dict(), tmp_path / "w.safetensors")
    return {
        "model": {"name": "vit_tiny_patch16_224", "weights": str(tmp_path / "w.safetensors"), "kwargs": dict(SIZES)},
        "data": {"path": str(tmp_path / "images"), "held_out": 0.25},
        "budget": {"macs": 0.6},
        "plan": {"align": 4},
        "score": {"method": "magnitude"},
        "bench": {"seconds": 0.1, "targets": ["onnxruntime:cpu"]},
    }


def weights_of(recipe: Recipe) -> Path:
    return Path(str(recipe["model"]["weights"]))


def unknown_model(recipe: Recipe) -> None:
    recipe["model"]["name"] = "vit_tiny_patch16_242"


def other_architecture(recipe: Recipe) -> None:
    save_file(create_model("test_resnet", num_classes=2).state_dict(), weights_of(recipe))


def truncated(recipe: Recipe) -> None:
    weights_of(recipe).write_bytes(weights_of(recipe).read_bytes()[:5000])


def pickled_module(recipe: Recipe) -> None:
    path = weights_of(recipe).with_suffix(".pth")
    torch.save(create_model("vit_tiny_patch16_224", **SIZES), path)
    recipe["model"]["weights"] = str(path)


def other_class_count(recipe: Recipe) -> None:
    folder = Path(str(recipe["data"]["path"])) / "eel"
    folder.mkdir()
    Image.new("RGB", (16, 16)).save(folder / "0.png")
    Image.new("RGB", (16, 16), "red").save(folder / "1.png")


def empty_class(recipe: Recipe) -> None:
    (Path(str(recipe["data"]["path"])) / "eel").mkdir()


def unreadable_image(recipe: Recipe) -> None:
    for path in (Path(str(recipe["data"]["path"])) / "cat").iterdir():
        path.write_bytes(path.read_bytes()[:60])


def nan_weights(recipe: Recipe) -> None:
    tensors = create_model("vit_tiny_patch16_224", **SIZES).state_dict()
    tensors["blocks.0.mlp.fc1.weight"][3, 4] = float("nan")
    save_file(tensors, weights_of(recipe))


def no_budget(recipe: Recipe) -> None:
    recipe["budget"] = {"macs": 0}


def too_large_budget(recipe: Recipe) -> None:
    recipe["budget"] = {"macs": 1.5}


def unknown_key(recipe: Recipe) -> None:
    recipe["plan"]["alignment"] = 8


CASES: list[tuple[Callable[[Recipe], None], str]] = [
    (unknown_model, "vit_tiny_patch16_224"),
    (other_architecture, "vit_tiny_patch16_224"),
    (truncated, "w.safetensors"),
    (pickled_module, "safetensors"),
    (other_class_count, "2"),
    (empty_class, "eel"),
    (unreadable_image, ".png"),
    (nan_weights, "blocks.0.mlp.fc1.weight"),
    (no_budget, "is 0"),
    (too_large_budget, "is 1.5"),
    (unknown_key, "did you mean 'align'"),
]


def run(tmp_path: Path, recipe: Recipe) -> int | str | None:
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    with pytest.raises(SystemExit) as exit_info:
        main(["run", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "out")])
    return exit_info.value.code


@pytest.mark.parametrize(("spoil", "words"), CASES, ids=lambda value: getattr(value, "__name__", ""))
def test_bad_input_is_one_sentence_and_exit_2(
    spoil: Callable[[Recipe], None],
    words: str,
    recipe: Recipe,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spoil(recipe)
    assert run(tmp_path, recipe) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert words in said.err
    *finished, sentence = said.err.splitlines()  # stages may have been done before what is bad was met
    assert sentence.startswith("secateur: ")
    assert all(": done in " in line for line in finished)
    assert "Traceback" not in said.err
    if spoil is not unreadable_image:  # found when it is read; the stages before it are finished and stay
        assert not (tmp_path / "out").exists()
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.nightly
def test_the_unspoilt_recipe_runs_and_another_one_is_refused_in_its_folder(
    recipe: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, recipe) == 0
    assert "report.html" in capsys.readouterr().out
    recipe["budget"] = {"params": 0.7}
    assert run(tmp_path, recipe) == 2
    assert "made by another recipe" in capsys.readouterr().err
