"""Runs: resumed after a real SIGKILL at every stage, never mixed, never half-written."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from secateur.core.errors import DataError, ModelError, PlanError, RecipeError, RunError, SecateurError
from secateur.core.files import sha256_file
from secateur.pipeline.cli import cli
from secateur.pipeline.report.stage import ALL_STAGES
from secateur.pipeline.runs import plan_stage
from secateur.pipeline.runs.manifest import read_manifest
from secateur.pipeline.runs.recipe import apply_settings, make_recipe
from secateur.pipeline.runs.runner import open_run, run_stages
from secateur.pipeline.structure.plan import Plan
from tests.forked import secateur
from tests.once import made_once

KWARGS = {
    "img_size": 16,
    "patch_size": 8,
    "in_chans": 1,
    "num_classes": 10,
    "embed_dim": 48,
    "depth": 1,
    "num_heads": 3,
}
CONTENT = {
    "model": {"name": "vit_tiny_patch16_224", "kwargs": KWARGS},
    "data": {"path": "digits"},
    "budget": {"macs": 0.6},
    "score": {"method": "taylor", "samples_per_class": 3},
    "recover": {"samples_per_class": 3},
    "export": {"targets": ["onnxruntime:cpu"]},
    "bench": {"targets": ["onnxruntime:cpu"], "seconds": 0.2, "threads": 1},
}
NAMES = tuple(stage.name for stage in ALL_STAGES if stage.wanted(make_recipe(CONTENT, "here")))
FINAL = ("model/model.safetensors", "model/structure.json", "plan.json", "scores.safetensors", "groups.json")


def start_run(folder: Path) -> BaseProcess:
    """Starts `secateur run` on the recipe beside `folder`, in a process of its own."""
    recipe = folder.with_suffix(".yaml")
    recipe.write_text(yaml.safe_dump(CONTENT))
    return secateur("run", recipe, "--out", folder)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was never disturbed; nobody may change it, or work in it."""

    def make(folder: Path) -> None:
        child = start_run(folder / "whole")
        child.join()
        assert child.exitcode == 0

    return made_once(tmp_path_factory, "runner", make) / "whole"


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path / "copy")
    return tmp_path / "copy"


def test_a_run_writes_what_the_design_names(finished: Path) -> None:
    for name in (*FINAL, "recipe.yaml", "manifest.json", "model.onnx", "bench.json", "report.html", "report.md"):
        assert (finished / name).stat().st_size > 0
    assert (finished / "engines/onnxruntime-cpu/engine.json").is_file()
    assert not list(finished.rglob("*.part"))
    entries = read_manifest(finished)
    assert tuple(entries) == NAMES
    for entry in entries.values():
        assert all(sha256_file(finished / name) == digest for name, digest in entry.outputs.items())
        assert {"torch", "timm", "python"} <= set(entry.versions)


def test_a_run_killed_at_every_third_stage_ends_with_the_same_model(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    kept: dict[str, object] = {}
    for number in (*range(1, len(NAMES), 3), len(NAMES)):
        child = start_run(folder)
        if number < len(NAMES):  # killed while stage `number` is at work
            wait_for_stages(folder, number)
            os.kill(child.pid or 0, signal.SIGKILL)
        child.join()
        entries = read_manifest(folder)
        for name, entry in kept.items():
            assert entries[name] == entry, f"{name} ran twice"
        kept = dict(entries)
    assert child.exitcode == 0
    assert tuple(kept) == NAMES
    for name in FINAL:
        assert (folder / name).read_bytes() == (finished / name).read_bytes(), name


def wait_for_stages(folder: Path, count: int) -> None:
    """Returns as soon as `count` stages are finished and the next one has had a moment to begin."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if (folder / "recipe.yaml").exists() and len(read_manifest(folder)) >= count:
            time.sleep(0.02)
            return
        time.sleep(0.005)
    raise AssertionError(f"stage {count} was not reached")


def test_a_second_call_repeats_nothing(copied: Path) -> None:
    said: list[tuple[str, str]] = []
    before = (copied / "manifest.json").read_bytes()
    run_stages(open_run(copied), report=lambda stage, message: said.append((stage, message)), stages=ALL_STAGES)
    assert said == [(name, "up to date") for name in NAMES]
    assert (copied / "manifest.json").read_bytes() == before


def test_a_changed_recipe_repeats_only_what_depends_on_it(finished: Path, copied: Path) -> None:
    recipe = make_recipe(apply_settings(CONTENT, ["budget.macs=0.7"]), "test")
    with pytest.raises(RunError, match=r"made by another recipe \(budget\.macs differ\)"):
        open_run(copied, recipe)
    said: list[tuple[str, str]] = []
    run_stages(open_run(copied, recipe, update=True), until="recover", report=lambda *words: said.append(words))
    skipped = [stage for stage, message in said if message == "up to date"]
    assert skipped == ["groups", "score"]
    assert (copied / "model/model.safetensors").read_bytes() != (finished / "model/model.safetensors").read_bytes()


def test_a_damaged_output_is_made_again(finished: Path, copied: Path) -> None:
    (copied / "plan.json").write_text("{}")
    run_stages(open_run(copied), until="plan")
    assert (copied / "plan.json").read_bytes() == (finished / "plan.json").read_bytes()


@contextmanager
def in_use(folder: Path) -> Iterator[None]:
    """A run's folder, held as another process at work would hold it."""
    import fcntl

    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # an open file of its own
        yield


def test_two_processes_do_not_share_a_run(copied: Path) -> None:
    with in_use(copied), pytest.raises(RunError, match="in use by another secateur process"):
        run_stages(open_run(copied))


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("command", ["plan", "score", "prune", "recover", "export", "build", "bench", "report", "run"])
def test_a_command_that_is_refused_leaves_a_running_run_as_it_is(command: str, copied: Path) -> None:
    before, words = files_of(copied), [command, str(copied), "--set", "budget.macs=0.3"]
    if command == "run":
        words = [command, str(copied / "recipe.yaml"), "--out", str(copied), "--update", *words[2:]]
    words += ["--all"] if command == "report" else []  # else it is refused for the stages before it
    with in_use(copied):
        ended = CliRunner().invoke(cli, words)
    assert "in use by another" in str(ended.exception)
    assert files_of(copied) == before


@pytest.mark.parametrize(
    "setting",
    ["budget.macs=0.01", "plan.skip=[layers.*]", "data.path=nowhere", "model.weights=absent.safetensors", "seed=x"],
)
def test_a_recipe_that_is_refused_leaves_a_finished_run_as_it_is(setting: str, copied: Path) -> None:
    before = files_of(copied)
    ended = CliRunner().invoke(cli, ["plan", str(copied), "--set", setting])
    assert isinstance(ended.exception, SecateurError)
    assert files_of(copied) == before


def test_a_recipe_with_which_no_stage_could_be_done_is_taken_back(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files_of(copied)

    def refuse(*_: object, **__: object) -> None:
        raise PlanError("it cannot be met after all")

    monkeypatch.setattr("secateur.pipeline.runs.plan_stage.make_plan", refuse)
    changed = make_recipe(apply_settings(CONTENT, ["budget.macs=0.7"]), "test")
    with pytest.raises(PlanError, match="after all"):
        run_stages(open_run(copied, changed, update=True))
    assert files_of(copied) == before


def test_a_recipe_that_changed_meanwhile_is_not_written_over(copied: Path) -> None:
    recipes = [make_recipe(apply_settings(CONTENT, [f"budget.macs={macs}"]), "test") for macs in (0.7, 0.8)]
    late, early = (open_run(copied, recipe, update=True) for recipe in recipes)
    run_stages(early, until="plan")
    before = files_of(copied)
    with pytest.raises(RunError, match="changed by another process meanwhile"):
        run_stages(late)
    assert files_of(copied) == before


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        (["model.name=vit_tiny_patch16_225"], ModelError, "vit_tiny_patch16_224"),
        (["data.path=nowhere"], DataError, "nowhere"),
        (["model.kwargs.num_classes=7"], SecateurError, "10"),
        (["score.method=tailor"], PlanError, "taylor"),
        (["plan.allocate=globl"], RecipeError, "global"),
        (["plan.skip=[layers.*]"], PlanError, "matches no group"),
        (["plan.kinds=[channel]"], PlanError, "no group may be pruned"),
        (["budget.macs=0.01"], PlanError, "cannot be met"),
        (["export.targets=[tensorrt_rtx:sm_1]"], SecateurError, "sm_86"),
        (["budget.macs=900G"], PlanError, "no less than the dense model"),
        (["model.weights=absent.safetensors"], ModelError, "absent"),
    ],
)
def test_bad_input_leaves_nothing_behind(
    settings: list[str], error: type[Exception], words: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=words):
        open_run(tmp_path / "run", make_recipe(apply_settings(CONTENT, settings), "test"))
    assert not (tmp_path / "run").exists()


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(RunError, match="not empty and holds no run"):
        open_run(tmp_path, make_recipe(CONTENT, "test"))
    with pytest.raises(RunError, match=r"holds no recipe\.yaml"):
        open_run(tmp_path / "empty")


def test_a_full_disk_is_one_sentence_and_the_run_goes_on_when_there_is_space(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "full"
    child = start_run(folder)
    resource.prlimit(child.pid or 0, resource.RLIMIT_FSIZE, (60_000, 60_000))  # the kernel refuses larger files
    child.join()
    assert child.exitcode == 2
    assert not list(folder.rglob("*.part"))
    for path in folder.rglob("*.json"):
        json.loads(path.read_text())
    assert "prune" not in read_manifest(folder)
    run_stages(open_run(folder), until="recover")
    assert (folder / "model/model.safetensors").read_bytes() == (finished / "model/model.safetensors").read_bytes()


def test_the_recipe_in_the_run_is_complete(finished: Path) -> None:
    content = yaml.safe_load((finished / "recipe.yaml").read_text())
    assert content["recover"]["ridge"] is None
    assert content["recover"]["front_to_back"] is True
    assert content["plan"]["allocate"] == "knapsack"


@pytest.mark.parametrize("again", [True, False], ids=["and something is written", "and something is read"])
def test_a_folder_that_vanishes_ends_in_a_sentence(again: bool, copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = plan_stage.make_plan

    def vanish(*words: Any, **more: Any) -> Plan:
        shutil.rmtree(copied)
        if not again:
            raise FileNotFoundError(2, "No such file or directory", str(copied / "scores.safetensors"))
        return real(*words, **more)

    monkeypatch.setattr(plan_stage, "make_plan", vanish)
    changed = make_recipe(apply_settings(CONTENT, ["budget.macs=0.7"]), "test")
    with pytest.raises(RunError, match="was removed or moved while a run was at work in it"):
        run_stages(open_run(copied, changed, update=True))
    assert not (copied / "manifest.json").exists() and not (copied / "recipe.yaml").exists()
