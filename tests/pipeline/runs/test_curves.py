"""Curves of a run: the command, its files, and that it goes on where it stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from secateur.core.errors import PlanError, RunError
from secateur.pipeline.analysis.pruning_curve import Shape
from secateur.pipeline.cli import cli
from secateur.pipeline.runs import curves
from secateur.pipeline.runs.context import Run
from secateur.pipeline.runs.curve_file import CurveFile
from secateur.pipeline.runs.curves import parse_line, trace_curves
from secateur.pipeline.runs.recipe import make_recipe
from secateur.pipeline.runs.runner import open_run

MODEL = {
    "name": "vit_tiny_patch16_224",
    "kwargs": {
        "img_size": 8,
        "patch_size": 4,
        "in_chans": 1,
        "embed_dim": 12,
        "depth": 1,
        "num_heads": 3,
        "num_classes": 10,
    },
}
SHAPE = Shape(("mlp_hidden",), rates=(0.0, 0.5, 0.9))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    recipe = {
        "model": MODEL,
        "data": {"path": "digits"},
        "budget": {"macs": 0.8},
        "score": {"samples_per_class": 2},
        "plan": {"kinds": ["mlp_hidden"]},
    }
    return open_run(tmp_path / "run", make_recipe(recipe, "test"))


def trace(run: Run, folder: Path, *words: str, shape: Shape = SHAPE) -> CurveFile:
    return trace_curves(run, [parse_line(word) for word in words], folder, shape, random_seeds=2, images_per_class=2)


def test_the_command_writes_a_picture_and_a_file(run: Run) -> None:
    words = ["curve", str(run.folder), "--methods", "random magnitude lrp:aggregate=signed", "--rates", "0,0.5"]
    result = CliRunner().invoke(cli, [*words, "--random-seeds", "2", "--images-per-class", "2", "--json"])
    assert result.exit_code == 0, result.output
    content = json.loads(result.stdout)
    assert [(row["label"], row["seed"]) for row in content["curves"]] == [
        *(("random", 0), ("random", 1), ("magnitude", 0), ("lrp:aggregate=signed", 0))
    ]
    for row in content["curves"]:
        assert [point["rate"] for point in row["points"]] == [0.0, 0.5]
        assert row["a_pr"] == pytest.approx(sum(point["top1"] for point in row["points"]) / 2)
        assert row["points"][1]["macs"] < row["points"][0]["macs"] == content["dense"]["macs"]
    assert (run.folder / "curves/curve.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((run.folder / "curves/curve.json").read_text())["schema"] == "secateur.curve/1"


def test_a_dense_model_that_guesses_or_has_no_weights_is_warned_of(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trace(open_run(run.folder), tmp_path / "first", "random", "magnitude")
    assert caplog.text.count("has random weights, whose scores and accuracy mean nothing") == 1
    assert caplog.text.count("which guessing among 10 classes reaches too") == 1
    trace(run, tmp_path / "first", "random", "magnitude")  # all is there
    assert caplog.text.count("which guessing among 10 classes reaches too") == 2


def test_a_stopped_command_goes_on_and_ends_with_the_same(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = trace(run, tmp_path / "whole", "random", "taylor")
    measured: list[float] = []
    original = curves.curve

    def counted(*args: Any, **kwargs: Any) -> Any:
        measured.append(args[4].rates[0])
        if len(measured) == 5:
            raise KeyboardInterrupt
        return original(*args, **kwargs)

    monkeypatch.setattr(curves, "curve", counted)
    with pytest.raises(KeyboardInterrupt):
        trace(run, tmp_path / "parts", "random", "taylor")
    again = trace(run, tmp_path / "parts", "random", "taylor")
    assert len(measured) == 5 + (9 - 4)
    assert again == whole
    assert (tmp_path / "parts/curve.json").read_bytes() == (tmp_path / "whole/curve.json").read_bytes()


def test_a_new_method_is_added_and_other_settings_are_refused(run: Run, tmp_path: Path) -> None:
    trace(run, tmp_path, "magnitude")
    trace(run, tmp_path, "activation")
    rows = json.loads((tmp_path / "curve.json").read_text())["curves"]
    assert {row["label"] for row in rows} == {"magnitude", "activation"}
    with pytest.raises(RunError, match="another model"):
        trace(run, tmp_path, "magnitude", shape=Shape(("head",), rates=(0.0, 0.5)))


@pytest.mark.parametrize(("word", "message"), [("tailor", "did you mean"), ("lrp:rule=gamma", "composite")])
def test_unknown_methods_and_options_are_refused(word: str, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        parse_line(word)
