"""Declarations: each changes with what it names, and with nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from secateur.benchmarks.environment import environment
from secateur.core import packages
from secateur.export.machine import Gpu
from secateur.pipeline.data.spec import DataSpec
from secateur.pipeline.report.stage import ALL_STAGES
from secateur.pipeline.runs import declarations
from secateur.pipeline.runs.context import Run
from secateur.pipeline.runs.declarations import (
    CalibrationImages,
    ClassNames,
    Declaration,
    DenseModel,
    Found,
    HeldOutImages,
    Machine,
    Output,
    Packages,
    RecipePart,
    Runtimes,
    recipe_parts,
)
from secateur.pipeline.runs.manifest import Entry
from secateur.pipeline.runs.recipe import Recipe
from tests.pipeline.runs.small_run import make_inputs, make_weights, recipe_of


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights, rules and images; nobody may change them."""
    folder = tmp_path_factory.mktemp("inputs")
    make_inputs(folder)
    return folder


def found(one: Declaration, folder: Path, *settings: str) -> dict[str, str]:
    return dict(one.identity(Run(folder / "run", recipe_of(folder, *settings)), {}))


def test_a_part_of_the_recipe_changes_with_its_values_alone(inputs: Path) -> None:
    for part, change in ((RecipePart("seed"), "seed=1"), (RecipePart("bench.threads"), "bench.threads=3")):
        assert found(part, inputs) == found(part, inputs, "score.samples_per_class=4")
        assert found(part, inputs) != found(part, inputs, change)
    assert list(found(RecipePart("bench.threads"), inputs)) == ["recipe.bench.threads"]
    assert found(RecipePart(""), inputs) != found(RecipePart(""), inputs, "bench.threads=3")
    assert recipe_parts("plan", "seed") == (RecipePart("plan"), RecipePart("seed"))


def test_a_file_that_the_recipe_names_counts_by_its_content(inputs: Path, tmp_path: Path) -> None:
    part, option = RecipePart("score"), "score.options.composite"
    known = found(part, inputs)
    for text, same in (((inputs / "rules.yaml").read_text(), True), ("first: z_plus\n", False)):
        (tmp_path / "other.yaml").write_text(text)
        assert (found(part, inputs, f"{option}={tmp_path / 'other.yaml'}") == known) == same


def test_the_model_changes_with_its_weights_and_arguments_but_not_with_their_place(
    inputs: Path, tmp_path: Path
) -> None:
    known = found(DenseModel(), inputs)
    make_inputs(tmp_path)
    assert found(DenseModel(), tmp_path) == known
    assert found(DenseModel(), inputs, "model.kwargs.depth=2")["model"] != known["model"]
    assert found(DenseModel(), inputs, "classes=[class0, class2]")["model"] != known["model"]
    make_weights(tmp_path / "weights.safetensors", 5)
    assert found(DenseModel(), tmp_path)["weights"] != known["weights"]


def test_a_model_without_weights_changes_with_the_seed(inputs: Path) -> None:
    one, two = (found(DenseModel(), inputs, "model.weights=null", f"seed={seed}") for seed in (0, 1))
    assert one != two


def test_the_two_sides_of_the_data_are_told_apart(inputs: Path, tmp_path: Path) -> None:
    make_inputs(tmp_path)
    (tmp_path / "val" / "class0" / "0.png").unlink()
    assert found(CalibrationImages(), tmp_path) == found(CalibrationImages(), inputs)
    assert found(HeldOutImages(), tmp_path) != found(HeldOutImages(), inputs)


def test_names_of_classes_change_with_the_names_alone(inputs: Path, tmp_path: Path) -> None:
    make_inputs(tmp_path)
    (tmp_path / "train" / "class0" / "0.png").unlink()
    assert found(ClassNames(), tmp_path) == found(ClassNames(), inputs)
    for side in ("train", "val"):
        (tmp_path / side / "class0").rename(tmp_path / side / "class00")
    assert found(ClassNames(), tmp_path) != found(ClassNames(), inputs)


def test_outputs_are_those_of_one_stage_that_match(inputs: Path) -> None:
    files = {"model/structure.json": "a", "model/model.safetensors": "b", "repairs.json": "c"}
    finished = {"recover": Entry("", files, 0.0, {}, 0), "plan": Entry("", {"plan.json": "d"}, 0.0, {}, 0)}
    run = Run(inputs / "run", recipe_of(inputs))
    assert Output("recover", "model/*").identity(run, finished) == {
        key: value for key, value in files.items() if key.startswith("model/")
    }
    assert Output("recover").identity(run, finished) == files
    assert Output("export").identity(run, finished) == {}


def test_what_another_command_left_counts_by_its_content(tmp_path: Path) -> None:
    make_inputs(tmp_path)
    one = Found("../sweep.json")
    absent = found(one, tmp_path)
    (tmp_path / "run").mkdir(exist_ok=True)
    (tmp_path / "sweep.json").write_text("1")
    there = found(one, tmp_path)
    (tmp_path / "sweep.json").write_text("22")
    assert len({str(words) for words in (absent, there, found(one, tmp_path))}) == 3


def test_packages_are_named_with_their_versions(inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "version_of", {"secateur": "1", "torch": "2"}.get)
    assert found(Packages("torch", "scipy"), inputs) == {
        "package secateur": "1",
        "package torch": "2",
        "package scipy": "absent",
    }


def on(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    """Lets this machine be another one."""
    here = replace(environment(1), **changes)
    monkeypatch.setattr(declarations, "environment", lambda threads: replace(here, threads=threads or here.threads))


def test_what_is_measured_on_a_cpu_depends_on_its_name_and_threads(
    inputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on(monkeypatch, cpu_model="old", gpu=None, driver="")
    known = found(Machine(), inputs)
    assert set(known) == {
        *("package onnxruntime", "package torch"),
        *("machine processor", "machine architecture", "machine threads"),
    }
    assert found(Machine(), inputs, "bench.threads=7")["machine threads"] == "7"
    on(monkeypatch, gpu=Gpu("fast", "sm_86", 8), cpu_model="old", driver="570")
    assert found(Machine(), inputs) == known
    on(monkeypatch, cpu_model="new")
    assert found(Machine(), inputs)["machine processor"] == "new"


def test_what_is_measured_on_a_gpu_depends_on_its_name_and_driver(
    inputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = "bench.targets=[torch:cuda]"
    on(monkeypatch, gpu=Gpu("fast", "sm_86", 8), driver="570")
    known = found(Machine(), inputs, target)
    assert known["machine gpu"] == "fast"
    assert known["machine driver"] == "570"
    on(monkeypatch, gpu=None, driver="")
    assert found(Machine(), inputs, target) != known


def test_engines_depend_on_the_version_of_their_runtime(inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = ("export.targets=[tensorrt_rtx:sm_86]", "bench.targets=[torch:cpu]")
    on(monkeypatch, gpu=None)
    monkeypatch.setattr(packages, "version_of", {"tensorrt_rtx": "1.1"}.get)
    known = found(Runtimes(), inputs, *settings)
    assert known["package tensorrt_rtx"] == "1.1"
    assert "package onnxruntime" not in known
    monkeypatch.setattr(packages, "version_of", {"tensorrt_rtx": "1.2"}.get)
    assert found(Runtimes(), inputs, *settings) != known
    on(monkeypatch, gpu=Gpu("fast", "sm_86", 8))
    monkeypatch.setattr(packages, "version_of", {"tensorrt_rtx": "1.1"}.get)
    assert found(Runtimes(), inputs, *settings) == {**known, "machine gpu": "sm_86"}


FIRST = {
    "model": "groups",
    "classes": "groups",
    "seed": "groups",
    "score": "score",
    "task": "score",
    "plan.kinds": "score",
    "plan.skip": "score",
    "plan": "plan",
    "budget": "plan",
    "recover": "recover",
    "export": "export",
    "bench": "bench",
    "report": "report",
}
"""The first stage that is another one when a value of this section changes, or of this key."""


def leaves(value: object, place: str = "") -> Iterator[str]:
    """The keys of a recipe that hold a value."""
    for one in fields(value):  # type: ignore[arg-type]  # a dataclass
        inner, key = getattr(value, one.name), f"{place}{one.name}"
        yield from leaves(inner, f"{key}.") if is_dataclass(inner) else [key]


def other(key: str, value: object) -> object:
    """Another value: but for names that are looked up, what it means is no matter for its hash."""
    if key == "plan.allocate":
        return "uniform"
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, dict):
        return {**value, "composite": "z_plus", "more": 1}
    return (*value, "onnxruntime:cuda") if isinstance(value, tuple) else f"{value}x"


def changed_at(recipe: Recipe, key: str) -> Recipe:
    """A copy with another value, unchecked."""
    *sections, last = key.split(".")
    copy = place = deepcopy(recipe)
    for section in sections:
        place = getattr(place, section)
    object.__setattr__(place, last, other(key, getattr(place, last)))
    return copy


def test_every_key_of_a_recipe_is_in_the_hash_of_each_stage_whose_result_it_changes(inputs: Path) -> None:
    """But `data`, which counts by the images that it names."""
    run = Run(inputs / "run", recipe_of(inputs))
    images = {name: getattr(run, name) for name in ("data", "_all_data")}
    before = {stage.name: stage.identity(run, {}) for stage in ALL_STAGES}
    keys = [key for key in leaves(run.recipe) if not key.startswith("data.")]
    assert {key.partition(".")[0] for key in keys} | {"data"} == {one.name for one in fields(Recipe)}
    for key in keys:
        changed = Run(run.folder, changed_at(run.recipe, key))
        vars(changed).update(images)
        first = next(FIRST[part] for part in (key, key.partition(".")[0]) if part in FIRST)
        stage = next(stage for stage in ALL_STAGES if stage.name == first)
        now = stage.identity(changed, {})
        odd = {name for name in now if now[name] != before[first].get(name)} - {"recipe"}
        assert odd, f"{first} would not be done again for another {key}"


def tables(folder: Path) -> Path:
    """Three folders of pictures, each with a table of other columns too, and an array with numbers for labels."""
    draws = np.random.default_rng(0)
    for name in ("one", "two", "three"):
        (folder / name).mkdir(parents=True)
        rows = ["file,label,other_file,other_label"]
        for number in range(12):
            pixels = draws.integers(0, 256, (16, 16), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
            rows.append(f"{number}.png,{'abc'[number % 3]},{11 - number}.png,{'abc'[number // 4]}")
        (folder / name / "labels.csv").write_text("\n".join(rows) + "\n")
    (folder / "map.txt").write_text("c\nb\na\n")
    np.savez(folder / "x.npz", images=draws.integers(0, 256, (12, 16, 16, 1), dtype=np.uint8), labels=np.arange(12) % 3)
    return folder


PLACES = ("path", "calibration", "evaluation", "class_map")
OTHER_DATA: dict[str, tuple[dict[str, object], dict[str, object], str]] = {
    "path": ({"path": "one"}, {"path": "two"}, "score"),
    "calibration": (
        *({"calibration": "one", "evaluation": "three"}, {"calibration": "two", "evaluation": "three"}),
        "score",
    ),
    "evaluation": (
        *({"calibration": "three", "evaluation": "one"}, {"calibration": "three", "evaluation": "two"}),
        "bench",
    ),
    "held_out": ({"path": "one", "held_out": 0.25}, {"path": "one", "held_out": 0.5}, "score"),
    "num_classes": ({"path": "x.npz"}, {"path": "x.npz", "num_classes": 4}, "score"),
    "class_map": ({"path": "one"}, {"path": "one", "class_map": "map.txt"}, "score"),
    "file_column": ({"path": "one"}, {"path": "one", "file_column": "other_file"}, "score"),
    "label_column": ({"path": "one"}, {"path": "one", "label_column": "other_label"}, "score"),
}
"""For each key of the data two sections that differ in it, and a stage that is another one for the second."""


@pytest.mark.parametrize("key", OTHER_DATA)
def test_every_key_of_the_data_is_in_the_hash_of_the_stages_by_the_images_that_it_names(
    key: str, inputs: Path, tmp_path: Path
) -> None:
    *sections, name = OTHER_DATA[key]
    folder, found = tables(tmp_path / "data"), []
    (stage,) = (one for one in ALL_STAGES if one.name == name)
    for section in sections:
        assert isinstance(section, dict)
        paths = {word: str(folder / str(section[word])) for word in PLACES if word in section}
        data = replace(recipe_of(inputs), data=DataSpec(**{**section, **paths}))
        found.append(stage.identity(Run(inputs / "run", data), {}))
    odd = {part for part in found[0] if found[0][part] != found[1].get(part)} - {"recipe"}
    assert odd, f"{name} would not be done again for another data.{key}"


def test_no_key_of_the_data_is_left_out(inputs: Path) -> None:
    """But `duplicates`: without images that both sides hold it changes nothing, and with some the data are refused."""
    assert {*OTHER_DATA, "duplicates"} == {one.name for one in fields(DataSpec)}
