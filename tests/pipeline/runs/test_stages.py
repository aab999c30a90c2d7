"""The stages: a change of anything that decides a result is seen, and nothing is opened that is not declared."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from secateur.benchmarks.environment import environment
from secateur.core import packages
from secateur.pipeline.report.stage import ALL_STAGES
from secateur.pipeline.runs import declarations
from secateur.pipeline.runs.declarations import HeldOutImages, Output, Packages
from secateur.pipeline.runs.inputs import Inputs
from secateur.pipeline.runs.manifest import read_manifest
from secateur.pipeline.runs.runner import open_run, overdue, run_stages
from secateur.pipeline.runs.stage import Stage
from secateur.pipeline.scores.score import Scores
from tests.once import made_once
from tests.pipeline.runs.opens import allowed, undeclared_opens
from tests.pipeline.runs.small_run import make_inputs, make_weights, recipe_of

BY_NAME = {stage.name: stage for stage in ALL_STAGES}
NAMES = [stage.name for stage in ALL_STAGES if stage.name != "profile"]
GARBAGE = b"nobody may read this"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run in `run`, beside the weights, images and rules that it read; nobody may change it."""

    def make(folder: Path) -> None:
        make_inputs(folder)
        run_stages(open_run(folder / "run", recipe_of(folder)), stages=ALL_STAGES)

    return made_once(tmp_path_factory, "stages", make)


@pytest.fixture
def place(finished: Path, tmp_path: Path) -> Path:
    """A copy of it; that the copy's recipe names other paths changes the report alone."""
    shutil.copytree(finished, tmp_path / "copy")
    (tmp_path / "copy" / "run" / "recipe.yaml").write_text(recipe_of(tmp_path / "copy").to_yaml())
    return tmp_path / "copy"


def late(place: Path, *settings: str) -> list[str]:
    """The stages that are not up to date, but for the report."""
    run = open_run(place / "run", recipe_of(place, *settings), update=True)
    return [name for name in (reason.partition(":")[0] for reason in overdue(run, "", ALL_STAGES)) if name != "report"]


def from_(stage: str) -> list[str]:
    """A stage and all that come after it, but for the report."""
    return NAMES[NAMES.index(stage) : -1]


def repaint(folder: Path) -> None:
    """Changes one picture."""
    Image.fromarray(np.full((16, 16), 7, dtype=np.uint8)).save(folder / "class1" / "2.png")


def test_a_finished_run_is_up_to_date(place: Path) -> None:
    assert late(place) == []
    assert overdue(open_run(place / "run", recipe_of(place)), "bench") == ()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda place: make_weights(place / "weights.safetensors", 1), from_("groups")),
        (lambda place: repaint(place / "train"), from_("score")),
        (lambda place: repaint(place / "val"), ["bench"]),
        (lambda place: (place / "rules.yaml").write_text("first: z_plus\n"), from_("score")),
        (lambda place: (place / "run" / "plan.json").write_text("{}"), from_("plan")),
        (lambda place: (place / "run" / "pruned" / "model.safetensors").unlink(), from_("prune")),
        (lambda place: (place / "run" / "model.onnx").write_bytes(b""), from_("export")),
        (lambda place: (place / "run" / "engines/onnxruntime-cpu/engine.json").unlink(), from_("build")),
        (lambda place: (place / "run" / "bench.json").write_text("{}"), ["bench"]),
    ],
    ids=["weights", "calibration", "held out", "rules", "plan", "pruned", "onnx", "engine", "bench"],
)
def test_a_changed_file_is_seen_by_every_stage_that_depends_on_it(
    place: Path, change: Callable[[Path], object], expected: list[str]
) -> None:
    change(place)
    assert late(place) == expected


@pytest.mark.parametrize(
    ("package", "expected"),
    [
        ("secateur", from_("groups")),
        ("torch", from_("groups")),
        ("timm", from_("groups")),
        ("scipy", from_("plan")),
        ("onnx", from_("export")),
        ("onnxscript", from_("export")),
        ("onnxruntime", from_("export")),
        ("fvcore", ["bench"]),
        ("tensorrt_rtx", []),
    ],
)
def test_a_changed_package_is_seen_by_every_stage_that_it_computes(
    place: Path, monkeypatch: pytest.MonkeyPatch, package: str, expected: list[str]
) -> None:
    real = packages.version_of
    monkeypatch.setattr(packages, "version_of", lambda name: "99" if name == package else real(name))
    assert late(place) == expected


def test_latency_is_measured_again_on_another_machine_and_with_other_threads(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = torch.get_num_threads()
    assert late(place, f"bench.threads={now + 1}") == from_("build")  # engines are built for what is measured
    assert late(place, "bench.threads=null") == []
    torch.set_num_threads(now + 1)
    try:
        run = open_run(place / "run")
        assert overdue(run, "bench") == (f"bench: machine threads changed from {now} to {now + 1}",)
    finally:
        torch.set_num_threads(now)
    other = replace(environment(), cpu_model="another processor")
    monkeypatch.setattr(declarations, "environment", lambda threads: other)
    assert late(place) == ["bench"]


def test_only_kinds_that_the_recipe_names_are_scored_and_others_anew(place: Path) -> None:
    every = {group.name: group.kind for group in open_run(place / "run").groups}
    assert {every[name] for name in Scores.load(place / "run" / "scores.safetensors").values} == set(every.values())
    assert late(place, "plan.allocate=uniform") == from_("plan")
    for settings, wanted in (
        (["plan.kinds=[mlp_hidden]"], {"mlp_hidden"}),
        (["plan.kinds=[mlp_hidden, head]", "plan.skip=['*.heads']"], {"mlp_hidden"}),
        (["plan.skip=['*.hidden']"], set(every.values()) - {"mlp_hidden"}),
    ):
        recipe = recipe_of(place, *settings, "plan.align=1", "budget.macs=0.95")
        run = open_run(place / "run", recipe, update=True)
        assert any(said.startswith("score: ") for said in overdue(run, "score"))
        run_stages(run, "score")
        assert {every[name] for name in Scores.load(run.folder / "scores.safetensors").values} == wanted


def test_weights_that_are_overwritten_are_what_the_next_run_prunes(place: Path) -> None:
    before = load_file(place / "run" / "model" / "model.safetensors")
    run = open_run(place / "run", recipe_of(place))
    for seed, again in enumerate((run, open_run(run.folder)), 1):  # a run that was open all the time sees it too
        make_weights(place / "weights.safetensors", seed)
        said: list[tuple[str, str]] = []
        run_stages(again, "prune", lambda *words, said=said: said.append(words))  # type: ignore[misc]  # bound now
        assert not [stage for stage, message in said if message == "up to date"]
        after, weights = (
            load_file(path) for path in (place / "run" / "pruned" / "model.safetensors", place / "weights.safetensors")
        )
        assert torch.equal(after["head.weight"], weights["head.weight"])
        assert not torch.equal(after["head.weight"], before["head.weight"])


def test_a_measured_stage_is_done_again_when_it_is_asked_for(place: Path) -> None:
    said: list[tuple[str, str]] = []
    before = (place / "run" / "bench.json").read_bytes()
    run_stages(open_run(place / "run"), "bench", lambda *words: said.append(words), force=True)
    assert [stage for stage, message in said if message == "up to date"] == from_("groups")[:-1]
    assert (place / "run" / "bench.json").read_bytes() != before


def test_what_is_no_longer_made_is_removed(place: Path) -> None:
    run = place / "run"
    (run / "photo.png").write_bytes(b"the user's own")
    assert (run / "repairs.json").is_file()
    recipe = recipe_of(place, "recover.compensate=false", "export.precisions=[fp16]")
    run_stages(open_run(run, recipe, update=True), "export")
    assert not (run / "repairs.json").exists()
    assert not (run / "model.onnx").exists()
    assert (run / "model.fp16.onnx").is_file()
    assert (run / "photo.png").is_file()


def test_a_latency_table_that_changes_changes_the_plan(finished: Path, tmp_path: Path) -> None:
    """`secateur profile` has measured; here its table is written down."""
    shutil.copytree(finished / "run", tmp_path / "run")
    recipe = recipe_of(finished, "budget.latency=0.8", "budget.target=torch:cpu")
    groups = open_run(finished / "run").groups
    families = {group.family or group.name for group in groups if group.kind in recipe.plan.kinds}

    def write(saved: float) -> None:
        values = {key: [saved, 0.0] for key in ("saved_ms", "low_ms", "high_ms")}
        curve = {"shares": [0.25, 1.0], **values}
        table = {
            "schema": "secateur.latency/1",
            "target": "torch:cpu",
            "batch": 1,
            "fingerprint": groups.fingerprint(),
            "dense_ms": 4.0,
            "curves": [{"family": family, **curve} for family in families],
            "environment": environment().__dict__,
        }
        (tmp_path / "run" / "latency.json").write_text(json.dumps(table))

    plans = []
    for saved in (2.0, 1.5):
        write(saved)
        run = open_run(tmp_path / "run", recipe, update=True)
        if plans:
            assert overdue(run, "plan") == ("profile: latency.json was changed", "plan: profile is not up to date")
        run_stages(run, "plan")
        plans.append(json.loads((run.folder / "plan.json").read_text())["notes"]["cost"])
        assert overdue(run, "plan") == ()
    assert plans[0] != plans[1]
    assert "latency.json" in read_manifest(tmp_path / "run")["profile"].outputs


def test_data_flows_one_way() -> None:
    for place, stage in enumerate(ALL_STAGES):
        earlier = [one.name for one in ALL_STAGES[:place]]
        for one in stage.reads:
            assert not isinstance(one, Output) or one.stage in earlier
        assert any(isinstance(one, Packages) for one in stage.reads)


def test_only_stages_that_judge_see_the_held_out_images() -> None:
    assert [stage.name for stage in ALL_STAGES if HeldOutImages() in stage.reads] == ["bench", "report"]


@pytest.mark.parametrize("name", NAMES)
def test_a_stage_opens_what_it_declares_and_does_its_work_with_nothing_else(
    name: str, place: Path, finished: Path
) -> None:
    """All that it does not declare is overwritten, so that libraries that open files by themselves are seen too."""
    stage, run = BY_NAME[name], open_run(place / "run")
    entries = read_manifest(run.folder)
    before = {other: entries[other] for other in NAMES[: NAMES.index(name)]}
    files, _ = allowed(stage, run, before)
    for path in place.rglob("*"):
        if path.is_file() and path.resolve() not in files and path.name not in ("recipe.yaml", "rules.yaml"):
            path.write_bytes(GARBAGE)
    assert undeclared_opens(stage, run, before, [place / "run", place / "train", place / "val"]) == []
    if name in ("groups", "score", "plan", "prune", "recover"):
        for output in entries[name].outputs:
            made, known = (folder / output for folder in (run.folder, finished / "run"))
            if output.endswith(".safetensors"):  # the scores' metadata name the file of the rules
                values, same = load_file(made), load_file(known)
                assert values.keys() == same.keys()
                assert all(torch.equal(value, same[key]) for key, value in values.items())
            else:
                assert json.loads(made.read_text()) == json.loads(known.read_text())


def reads_undeclared(inputs: Inputs, say: object) -> list[str]:
    (inputs.output() / "bench.json").read_bytes()
    inputs.path("plan.json").read_bytes()
    inputs.output("mine.json").write_text("{}")
    return ["mine.json"]


def test_a_stage_that_opens_a_file_by_itself_is_caught(place: Path) -> None:
    run, stage = open_run(place / "run"), Stage("naughty", (Output("plan"),), reads_undeclared)
    entries = read_manifest(run.folder)
    assert undeclared_opens(stage, run, entries, [place / "run"]) == [str(run.folder / "bench.json")]
