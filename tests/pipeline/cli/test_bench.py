"""`secateur bench`."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from secateur.benchmarks.bench import Measured
from secateur.benchmarks.effort import Effort
from secateur.benchmarks.environment import environment
from secateur.benchmarks.results_file import Latency, Side, read_bench
from secateur.benchmarks.runners import Subject
from secateur.core.errors import BenchError, DeviceError, SecateurError
from secateur.export.devices.device import Device
from secateur.export.devices.registry import add_device
from secateur.pipeline.cli import bench, cli
from secateur.pipeline.models.create import create_model
from secateur.pipeline.runs import measure
from secateur.pipeline.structure.storage import save
from tests.benchmarks.samples import result
from tests.benchmarks.tiny_graphs import tiny_graph
from tests.export.devices.stand_in_ssh import installed

QUICK = ("--seconds", "0.05", "--threads", "1")


def run(*words: object) -> Result:
    done = CliRunner().invoke(cli, ["bench", *map(str, words)])
    if done.exception is not None and not isinstance(done.exception, SystemExit | SecateurError):
        raise done.exception
    return done


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for name, depth in (("large", 2), ("small", 1)):
        kwargs = {"img_size": 16, "patch_size": 8, "embed_dim": 48, "depth": depth, "num_heads": 3}
        save(create_model("vit_tiny_patch16_224", num_classes=5, **kwargs), folder / name)
    return folder


def test_one_model_alone(models: Path) -> None:
    done = run(models / "small", *QUICK, "--batch", 1, "--batch", 2)
    assert done.output.count("torch:cpu") == 2


def test_a_pair_as_json_and_as_a_file(models: Path, tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    done = run(models / "small", "--against", models / "large", *QUICK, "--out", out, "--json")
    content = json.loads(done.stdout)
    assert content == json.loads(out.read_text())
    found = read_bench(out)
    assert (found.dense.name, found.pruned.name) == (str(models / "large"), str(models / "small"))
    assert (found.dense.macs or 0) > (found.pruned.macs or 0)
    assert list(found.speedup) == ["torch:cpu"]
    assert found.environment.threads == 1


def test_the_first_of_several_is_the_reference(models: Path) -> None:
    done = run(models / "large", models / "small", models / "large", *QUICK, "--json")
    content = json.loads(done.stdout)
    assert content["schema"] == "secateur.benches/1"
    assert [result["dense"]["name"] for result in content["results"]] == [str(models / "large")] * 2
    assert [result["pruned"]["name"] for result in content["results"]] == [str(models / "small"), str(models / "large")]


def test_a_module_is_exported_where_onnx_runtime_is_asked_for(models: Path) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    done = run(models / "small", *QUICK, "--target", "onnxruntime:cpu", "--target", "tensorrt", "--json")
    content = json.loads(done.stdout)
    assert content["schema"] == "secateur.latency/1"
    assert list(content["side"]["latency_ms"]) == ["onnxruntime:cpu"]
    assert list(content["skipped"]) == ["tensorrt"]


def test_set_goes_with_a_run_directory_alone(models: Path) -> None:
    assert run(models / "small", "--set", "bench.seconds=1").exit_code == 2


@pytest.mark.parametrize(
    ("words", "modes", "samples"),
    [((), ("hot",), 2000), (("--mode", "graph", "--mode", "cold", "--samples", "6000"), ("graph", "cold"), 6000)],
)
def test_modes_and_samples_are_asked_for_by_name(
    words: tuple[str, ...], modes: tuple[str, ...], samples: int, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Effort] = []

    def measured(subject: Subject, targets: object, batches: object, effort: Effort, *more: object) -> Measured:
        given.append(effort)
        return Measured(environment(1), Side(), {}, ())

    monkeypatch.setattr(measure, "bench_one", measured)
    run(models / "small", *QUICK, *words)
    assert [(effort.modes, effort.samples, effort.half_width > 0) for effort in given] == [(modes, samples, not words)]


def test_the_table_says_the_mode_its_tail_and_what_stopped_it(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    latencies = {
        "torch:cpu": Latency.of([2.0] * 5000, 1, stopped="precise"),
        "torch:cpu@throughput:4": Latency.of([2.0] * 20, 8, "throughput:4", "seconds"),
    }
    measured = Measured(environment(1), Side("small", latency_ms=latencies), {}, ())
    monkeypatch.setattr(measure, "bench_one", lambda *_: measured)
    done = run(models / "small", *QUICK)
    titles, hot, busy = (
        " ".join(line.split()) for line in done.output.splitlines() if "p99.9" in line or "2.000" in line
    )
    assert "p99.9 ms ┃ images/s ┃ stopped by" in titles
    assert "2.000 │ 2.000 │ 500.000 │ precise" in hot
    assert "torch:cpu@throughput:4 │ 8 │" in busy and "16000.0 │ seconds" in busy


def test_zero_seconds_are_refused(models: Path) -> None:
    done = run(models / "small", "--seconds", 0)
    assert isinstance(done.exception, BenchError)


def test_out_takes_one_comparison(models: Path, tmp_path: Path) -> None:
    three = [models / "large", models / "small", models / "small"]
    assert run(*three, *QUICK, "--out", tmp_path / "bench.json").exit_code == 2
    assert run(models / "small", *QUICK, "--out", tmp_path / "bench.json").exit_code == 2
    assert not (tmp_path / "bench.json").exists()


def test_a_run_directory_alone_is_dense_against_pruned(tmp_path: Path) -> None:
    """Measured for once, without touching the run; the stage itself is tested with the stages."""
    kwargs = "{img_size: 16, patch_size: 8, embed_dim: 48, depth: 1, num_heads: 3, num_classes: 10, in_chans: 1}"
    (tmp_path / "recipe.yaml").write_text(
        f"model: {{name: vit_tiny_patch16_224, kwargs: {kwargs}}}\ndata: {{path: digits}}\nbudget: {{macs: 0.9}}\n"
    )
    small = {"img_size": 16, "patch_size": 8, "embed_dim": 24, "depth": 1, "num_heads": 3, "num_classes": 10}
    save(create_model("vit_tiny_patch16_224", in_chans=1, **small), tmp_path / "model")
    before = sorted(tmp_path.rglob("*"))
    content = json.loads(run(tmp_path, *QUICK, "--target", "torch:cpu", "--json").stdout)
    assert content["dense"]["name"] == f"{tmp_path} (dense)"
    assert content["dense"]["macs"] > content["pruned"]["macs"]
    assert list(content["speedup"]) == ["torch:cpu"]
    assert sorted(tmp_path.rglob("*")) == before


def test_several_devices_make_one_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    installed(tmp_path / "stand-in", monkeypatch)
    for name in ("orin", "thor"):
        add_device(Device(name, "host", python=sys.executable))
    graph = tiny_graph(tmp_path / "small.onnx")
    done = run(graph, "--device", "orin", "--device", "thor", "--device", "orin", *QUICK)
    lines = [line for line in done.output.splitlines() if str(graph)[:20] in line and "onnxruntime:cpu" in line]
    assert ["orin" in line for line in lines] == [True, False] and "thor: not there: " in done.output


@pytest.mark.parametrize("words", [("--keep",), ("--device", "none")])
def test_what_devices_cannot_do_is_refused(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(tmp_path / "stand-in", monkeypatch)
    add_device(Device("orin", "host"))
    done = run("model.onnx", *words)
    assert done.exit_code == 2 or isinstance(done.exception, DeviceError)


@pytest.mark.parametrize("columns", [60, 80, 160])
def test_a_narrow_terminal_loses_no_word_of_the_table(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = result(1.5, targets={"onnxruntime:cpu@int8": 1})
    names = [f"runs/deit-tiny-half/{side}.onnx" for side in ("model.dense", "model")]
    found = replace(found, dense=replace(found.dense, name=names[0]), pruned=replace(found.pruned, name=names[1]))
    monkeypatch.setattr(bench, "_terminal_width", lambda: columns)
    bench._print([found])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= columns
    first = "".join(line.replace("│ ", "")[: 40 if columns == 160 else 13].split(" ")[0] for line in lines)
    assert all(name in first for name in names)
    numbers = found.dense.latency_ms["onnxruntime:cpu@int8"]
    assert all(f"{value:.3f}" in "".join(lines) for value in (numbers.p50, numbers.p90, numbers.p99))
    assert ("┃" in lines[1]) == (columns == 160)
