"""What the stages of a run share."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from secateur.export.quantize.observe import Quarter
from secateur.export.quantize.spec import QuantizeSpec
from secateur.pipeline.report.stage import ALL_STAGES
from secateur.pipeline.runs import context
from secateur.pipeline.runs.context import Run, Store
from secateur.pipeline.runs.recipe import make_recipe
from secateur.pipeline.runs.runner import open_run, run_stages
from secateur.pipeline.structure import storage
from secateur.pipeline.structure.storage import save
from tests.pipeline.models.small import SMALL, VIT, small_vit, write_safetensors
from tests.pipeline.runs.small_run import make_inputs, make_weights, recipe_of


def test_a_model_without_weights_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_safetensors(small_vit(in_chans=1, num_classes=10).state_dict(), tmp_path / "x.safetensors")
    model = {"name": VIT, "kwargs": {**SMALL, "in_chans": 1, "num_classes": 10}}
    rest = {"data": {"path": "digits"}, "budget": {"macs": 0.5}}
    assert Run(tmp_path, make_recipe({"model": {**model, "weights": str(path)}, **rest}, "x")).dense is not None
    assert not caplog.records
    assert Run(tmp_path, make_recipe({"model": model, **rest}, "x")).dense is not None
    assert f"{VIT} has random weights" in caplog.text


def test_classes_with_fewer_images_than_asked_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_inputs(tmp_path)
    run = Run(tmp_path, recipe_of(tmp_path))
    counts = np.bincount(run.data.calibration.labels)
    assert run.calibration(int(counts.min()), 8).samples == len(counts) * counts.min()
    assert not caplog.records
    assert run.calibration(int(counts.max()) + 1, 8).samples == counts.sum()
    assert (
        f"{counts.max() + 1} images of each class were asked, but {len(counts)} of {len(counts)} classes have fewer"
        in caplog.text
    )
    caplog.clear()
    assert run.calibration(0, 8).samples == counts.sum()
    assert not caplog.records


def test_images_of_a_limit_calibrate_nothing(tmp_path: Path) -> None:
    make_inputs(tmp_path)
    run = Run(tmp_path, recipe_of(tmp_path))
    spec = QuantizeSpec(samples_per_class=2, batch_size=4)
    measuring = [image for images, _ in Quarter(run.calibration(2, 4), others=True) for image in images]
    held_out, few = ([image for images, _ in loader for image in images] for loader in run.limit_images(spec, 3))

    def among(some: list[Tensor], others: list[Tensor]) -> int:
        return sum(any(torch.equal(one, other) for other in others) for one in some)

    assert (len(measuring), len(held_out), len(few)) == (5, 13, 3)
    assert (among(held_out, measuring), among(few, measuring)) == (0, 3)
    assert run.limit_images(replace(spec, drop_images=7), 3)[0].samples == 7


def test_a_store_keeps_the_last_of_each_kind_that_was_made_from_the_same() -> None:
    store, made = Store(), list[str]()
    assert store.known("a", "x") is None
    for kind, made_from in (("a", "x"), ("a", "x"), ("b", "x"), ("a", "y"), ("a", "x")):
        store.get(kind, made_from, lambda made_from=made_from: made.append(made_from) or made_from)  # type: ignore[misc]
    assert made == ["x", "x", "y", "x"]
    assert (store.known("a", "x"), store.known("a", "y"), store.known("b", "x")) == ("x", None, "x")


def test_runs_of_one_store_make_a_model_once_and_another_one_anew(tmp_path: Path) -> None:
    make_inputs(tmp_path)
    store = Store()
    one, two = (Run(tmp_path / name, recipe_of(tmp_path), store) for name in ("one", "two"))
    assert one.dense is two.dense
    assert one.groups is two.groups
    assert one.statistics is two.statistics
    make_weights(tmp_path / "weights.safetensors", 9)
    assert one.dense is two.dense  # a run looks at its weights once
    three = Run(tmp_path / "one", recipe_of(tmp_path), store)
    weights = load_file(tmp_path / "weights.safetensors")
    assert torch.equal(three.dense.state_dict()["head.weight"], weights["head.weight"])


def test_a_small_model_is_traced_and_cut_once_for_each_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_inputs(tmp_path)
    run, loaded, original = Run(tmp_path, recipe_of(tmp_path)), list[Any](), context.load
    monkeypatch.setattr(context, "load", lambda *words, **more: loaded.append(words) or original(*words, **more))
    save(run.dense, tmp_path / "model")
    assert run.small is run.small
    assert len(loaded) == 1
    state = {name: value + 1 for name, value in run.dense.state_dict().items()}
    run.dense.load_state_dict(state)
    save(run.dense, tmp_path / "model")
    assert torch.equal(run.small.state_dict()["head.weight"], state["head.weight"])
    assert len(loaded) == 2


@pytest.mark.nightly
def test_a_run_traces_its_model_once_from_the_groups_to_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_inputs(tmp_path)
    traced: list[Any] = []
    for module in (context, storage):
        original = module.find_groups
        monkeypatch.setattr(
            module,
            "find_groups",
            lambda *words, original=original, **more: traced.append(words) or original(*words, **more),
        )
    run = open_run(tmp_path / "run", recipe_of(tmp_path, "bench.seconds=0.02"))
    run_stages(run, stages=ALL_STAGES)
    assert len(traced) == 1
    again = open_run(tmp_path / "run")
    run_stages(again, "report", stages=ALL_STAGES, force=True)  # needs the small model, and no groups of the dense one
    assert len(traced) == 2
