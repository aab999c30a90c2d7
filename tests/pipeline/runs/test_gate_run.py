"""The gate judges a run only as it is now, and a file as it is, saying where it was measured."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from secateur.benchmarks import bench as bench_module
from secateur.benchmarks import environment as environment_module
from secateur.benchmarks.effort import Effort
from secateur.benchmarks.environment import environment
from secateur.benchmarks.gate import Verdict
from secateur.benchmarks.gating.retries import pooled
from secateur.benchmarks.results_file import BenchResult, read_bench
from secateur.benchmarks.runners import Subject
from secateur.core.errors import BenchError
from secateur.core.files import sha256_once
from secateur.export.devices.device import Remote
from secateur.pipeline.analysis.fidelity_file import FidelityFile
from secateur.pipeline.runs import gate_run, subjects
from secateur.pipeline.runs.gate_run import gate
from secateur.pipeline.runs.manifest import read_manifest, write_manifest
from secateur.pipeline.runs.recipe import apply_settings, plain
from secateur.pipeline.runs.runner import open_run
from tests.benchmarks.samples import over_processes, result
from tests.benchmarks.tiny_graphs import tiny_graph
from tests.export.devices.stand_in_ssh import installed
from tests.pipeline.runs.small_run import make_weights

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="the run leaves torch:cuda out, which is here")
ANY = 1e-3


def judged(run: Path) -> Verdict:
    """The verdict on what was measured, whatever the speedup."""
    return gate(run, min_speedup=ANY, targets=["torch:cpu"])


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, and of what it reads."""
    shutil.copytree(finished, tmp_path / "run")
    recipe = plain(open_run(finished).recipe)
    shutil.copyfile(recipe["model"]["weights"], tmp_path / "weights.safetensors")
    return tmp_path / "run"


def test_a_run_that_is_up_to_date_is_judged(run: Path) -> None:
    assert judged(run).outcome == "pass"
    assert judged(run).notes == judged(run / "bench.json").notes


def changed_plan(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = run / "recipe.yaml"
    path.write_text(yaml.safe_dump(apply_settings(yaml.safe_load(path.read_text()), ["budget.macs=0.6"])))


def changed_model(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (run / "model" / "model.safetensors").write_bytes(b"other")


def changed_weights(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, weights = run / "recipe.yaml", run.parent / "weights.safetensors"
    make_weights(weights, 7)
    path.write_text(yaml.safe_dump(apply_settings(yaml.safe_load(path.read_text()), [f"model.weights={weights}"])))


def another_machine(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment_module, "cpu_name", lambda: "Another CPU")


def lost_measurement(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (run / "bench.json").unlink()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (changed_plan, r"recipe\.budget changed"),
        (changed_model, r"model/model\.safetensors was changed"),
        (changed_weights, "weights changed"),
        (another_machine, "machine processor changed from .* to Another CPU"),
        (lost_measurement, r"bench\.json is missing"),
    ],
)
def test_a_run_that_changed_since_is_an_error_that_says_what_to_do(
    change: object, says: str, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert callable(change)
    change(run, monkeypatch)
    with pytest.raises(BenchError, match=says) as raised:
        judged(run)
    assert f"`secateur bench {run}`" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_file_is_judged_as_it_is(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed_plan(run, monkeypatch)
    assert judged(run / "bench.json").outcome == "pass"


def test_where_a_file_was_measured_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    here = environment()
    measured = result(targets={"torch:cpu": 1}, environment=here)
    assert gate(measured, min_speedup=ANY).notes == ()
    other = replace(measured, environment=replace(here, cpu_model="Another CPU", threads=here.threads + 1))
    (note,) = gate(other, min_speedup=ANY).notes
    assert note.startswith("torch:cpu was not measured on this machine: processor: 'Another CPU' and ")
    assert f"threads: '{here.threads + 1}' and '{here.threads}'" in note


def test_what_was_not_measured_is_inconclusive(run: Path) -> None:
    assert list(read_bench(run).skipped) == ["torch:cuda"]
    assert gate(run, min_speedup=ANY).exit_code == 3


def test_amounts_may_be_numbers_or_words(run: Path) -> None:
    macs = read_bench(run).pruned.macs
    assert macs is not None
    outcomes = {limit: gate(run, max_macs=limit).outcome for limit in (macs, macs - 1, 0.9, "1G", 0.1)}
    assert list(outcomes.values()) == ["pass", "fail", "pass", "pass", "fail"]


def test_the_fidelity_of_a_run_is_that_of_its_report(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BenchError, match=r"there is no .*fidelity\.json: `secateur report"):
        gate(run, min_fidelity=0.8)
    FidelityFile(0.9, 0.9, (0.88, 0.92, 0.9), (0.9,) * 3, ()).save(run / "fidelity.json")
    with pytest.raises(BenchError, match=r"not of what the run holds now \(fidelity\.json was changed\)"):
        gate(run, min_fidelity=0.8)
    entries = read_manifest(run)
    made = {**entries["report"].outputs, "fidelity.json": sha256_once(run / "fidelity.json")}
    write_manifest(run, {**entries, "report": replace(entries["report"], outputs=made)})
    assert [check.name for check in gate(run, min_fidelity=0.8).checks] == ["fidelity"]
    assert gate(run / "bench.json", min_fidelity=0.95).outcome == "fail"
    changed_model(run, monkeypatch)
    with pytest.raises(BenchError, match=r"model\.safetensors was changed"):
        gate(run / "bench.json", min_fidelity=0.8)


def test_a_run_is_measured_again_where_it_is_inconclusive(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = replace(read_bench(run), speedup={}, skipped={})
    planted = [replace(result(truth, 30, seed, {"torch:cpu": 1}), metric=None) for seed, truth in enumerate((1.3, 1.3))]
    found = [replace(one, dense=replace(one.dense, macs=1)) for one in planted]
    monkeypatch.setattr(gate_run, "read_measurement", lambda what: replace(found[0], environment=first.environment))
    asked: list[object] = []

    def measure(subjects: object, goals: object, batches: object, effort: object, say: object) -> list[BenchResult]:
        asked.append((goals, batches))
        return [found[1]]

    monkeypatch.setattr("secateur.pipeline.runs.measure.measure", measure)
    verdict = gate(run, min_speedup=1.3, retries=2)
    assert (verdict.tries, asked) == (3, [(["torch:cpu"], [1])] * 2)
    assert gate(found[0], min_speedup=1.3, retries=1, again=lambda: found[1]).tries == 2
    with pytest.raises(BenchError, match="a result is no run directory"):
        gate(found[0], min_speedup=1.3, retries=1)


def test_a_small_run_is_really_measured_again(run: Path) -> None:
    again = gate_run.measured_again(run, [("torch:cpu", 1)])
    first = read_bench(run)
    assert list(again.speedup) == ["torch:cpu"]
    assert again.pruned.macs == first.pruned.macs
    both = pooled(first, again).pruned.latency_ms["torch:cpu"].samples
    assert len(both) == sum(len(one.pruned.latency_ms["torch:cpu"].samples) for one in (first, again))


def test_a_run_is_measured_on_a_device_and_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    stand_in = installed(tmp_path / "stand-in", monkeypatch)
    remote = Remote(replace(stand_in.device, python=sys.executable))
    with pytest.raises(BenchError, match="is no run directory"):
        gate_run.measured_on(remote, tmp_path)
    text = "model: {name: vit_tiny_patch16_224}\ndata: {path: digits}\nbudget: {macs: 0.5}\nbench: {seconds: 0.05}\n"
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(BenchError, match="bring them up to date with `secateur export"):
        gate_run.measured_on(remote, tmp_path)
    assert stand_in.calls == 0
    graphs = [tiny_graph(tmp_path / f"{size}.onnx", size) for size in (200, 1)]
    sides = [Subject(graph.name, onnx=graph) for graph in graphs]
    monkeypatch.setattr(subjects, "run_subjects", lambda folder, device: sides)
    monkeypatch.setattr(gate_run, "_overdue", lambda folder, stage: ())
    found = gate_run.measured_on(remote, tmp_path)
    assert (found.device, list(found.speedup)) == ("orin", ["onnxruntime:cpu"])
    assert "torch:cpu was asked for and not measured: PyTorch is not used on devices" in found.notes
    assert gate(found, min_speedup=1.01).outcome == "pass"
    for targets, batches in ((["onnxruntime:cpu@b2"], {2}), (["onnxruntime:cpu@b2", "onnxruntime:cpu"], {1, 2})):
        found = gate_run.measured_on(remote, tmp_path, targets)
        assert {latency.batch for latency in found.pruned.latency_ms.values()} == batches
    verdict = gate(tmp_path, min_speedup=1.01, targets=["onnxruntime:cpu@b2"], remote=remote)
    assert {(check.target, check.batch) for check in verdict.checks if check.target} == {("onnxruntime:cpu", 2)}


def test_a_run_is_calibrated_by_its_dense_model_against_itself(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, str, list[str], int]] = []

    def bench_pair(one: Subject, two: Subject, goals: list[str], _: object, effort: Effort, say: Any) -> BenchResult:
        seen.append((one.name, two.name, goals, effort.parts))
        return over_processes([1.0, 1.01, 0.99, 1.02], goals[0])

    monkeypatch.setattr(bench_module, "bench_pair", bench_pair)
    measured = read_bench(run)
    assert "torch:cpu" in measured.speedup
    (note,) = gate_run.calibrated(run, None, targets=["torch:cpu"])
    assert seen == [(f"{run} (dense)", f"{run} (dense)", ["torch:cpu"], 12)]
    assert note.startswith("torch:cpu batch 1: one model is 1.005 ")
    with pytest.raises(
        BenchError, match=r"min_relative 0\.95 is tighter than this machine holds with 1 process a session"
    ):
        gate_run.calibrated(run, measured, targets=["torch:cpu"])
    with pytest.raises(BenchError, match="name the run"):
        gate_run.calibrated(run / "bench.json", None)
