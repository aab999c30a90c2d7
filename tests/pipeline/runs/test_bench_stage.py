"""What the bench stage measures: every precision and batch that was asked for, or the reason why not."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from secateur.benchmarks.bench import why_not
from secateur.benchmarks.gate import judge
from secateur.benchmarks.limits import Limits
from secateur.benchmarks.results_file import BenchResult, read_bench
from secateur.core.errors import BenchError
from secateur.export.artefacts import BuildFile, ExportFile
from secateur.export.targets import parse_typed_target
from secateur.pipeline.runs.bench_stage import bench_run, forms_of
from secateur.pipeline.runs.context import Run
from secateur.pipeline.runs.export_stage import onnx_name
from tests.pipeline.runs.handed import handed

needs_ort = pytest.mark.skipif(find_spec("onnxruntime") is None, reason="onnxruntime is not installed")
no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="PyTorch sees a GPU")


def measured(run: Run, folder: Path, precisions: tuple[str, ...], target: str) -> BenchResult:
    """The bench stage's result on a copy of the run that asks for these precisions and this target only."""
    shutil.copytree(run.folder, folder)
    files = ExportFile.load(folder).files
    ExportFile({name: graph for name, graph in files.items() if graph.info.precision in precisions}).save(folder)
    recipe = replace(
        run.recipe,
        export=replace(run.recipe.export, precisions=precisions, max_drop=None),
        bench=replace(run.recipe.bench, targets=(target,), batch=(1,)),
    )
    bench_run(handed(Run(folder, recipe), "bench"), lambda message: None)
    return read_bench(folder)


def graph_of(goal: str) -> str:
    """The pruned side's graph that runs on a goal of ONNX Runtime."""
    return onnx_name("pruned", parse_typed_target(goal).precision)


@needs_ort
@no_gpu
def test_every_precision_and_batch_is_measured_or_has_a_reason(typed_run: Run) -> None:
    found = read_bench(typed_run.folder)
    keys = [
        f"{goal}@b{batch}"
        for goal in ("onnxruntime:cpu", "onnxruntime:cpu@fp16", "onnxruntime:cpu@int8", "torch:cpu")
        for batch in (16, 1)
    ]
    assert list(found.speedup) == list(found.dense.latency_ms) == list(found.pruned.latency_ms) == keys
    assert [(one.target, one.precision, one.wide_ms.batch) for one in found.narrowed] == [
        ("onnxruntime:cpu", "int8", 16),
        ("onnxruntime:cpu", "int8", 1),
    ]
    assert {one.said for one in found.narrowed} <= set(found.notes)
    assert {goal: ran.provider for goal, ran in found.pruned.ran.items()} == dict.fromkeys(
        ("onnxruntime:cpu", "onnxruntime:cpu@fp16", "onnxruntime:cpu@int8"), "CPUExecutionProvider"
    )
    assert found.dense.ran["onnxruntime:cpu"].products == {"fp32": found.dense.ran["onnxruntime:cpu"].products["fp32"]}
    assert list(found.accuracy) == ["onnxruntime:cpu@fp16", "onnxruntime:cpu@int8"]
    for one in found.accuracy.values():  # on the same images as the model's own
        assert found.metric is not None and one.pairs is not None and found.metric.pairs is not None
        assert (one.pairs.images, one.pairs.right) == (found.metric.pairs.images, found.metric.pairs.right)
        assert one.pruned == pytest.approx(found.metric.pruned, abs=5)
    sizes = {goal: Path(typed_run.folder, graph_of(goal)).stat().st_size for goal in found.pruned.ran}
    assert found.pruned.sizes == sizes and sizes["onnxruntime:cpu@int8"] < sizes["onnxruntime:cpu"]
    assert found.dense.sizes.keys() == sizes.keys()
    assert set(found.parity) == {"fp32", "fp16", "bf16", "int8"}
    assert 0 <= found.parity["fp32"] < 1e-4 < found.parity["int8"]
    assert found.widths and all(min(cut) > 0 for cut in found.widths.values())
    skipped = [f"tensorrt_rtx:sm_86{typed}" for typed in ("", "@fp16", "@bf16", "@int8")]
    assert set(found.skipped) >= {*skipped}
    assert set(found.skipped) - {*skipped} <= {"onnxruntime:cpu@bf16@b16", "onnxruntime:cpu@bf16@b1"}
    for goal in skipped:
        assert re.search("runs only on a GPU of sm_86|not installed", found.skipped[goal])


@needs_ort
def test_products_that_run_in_another_precision_than_they_are_named_are_noted(typed_run: Run) -> None:
    from secateur.export.ort_engine import widening

    expected = widening(typed_run.folder / "model.dense.fp16.onnx", "cpu")
    notes = [note for note in read_bench(typed_run.folder).notes if note.startswith("onnxruntime:cpu@fp16: ")]
    assert notes == ([f"onnxruntime:cpu@fp16: {expected}"] if expected else [])


@needs_ort
def test_one_precision_alone_is_measured_under_its_name(typed_run: Run, tmp_path: Path) -> None:
    found = measured(typed_run, tmp_path / "run", ("fp16",), "onnxruntime:cpu")
    assert list(found.speedup) == ["onnxruntime:cpu@fp16"]
    (both,) = found.sizes.items()
    assert both[0] == "onnxruntime:cpu@fp16" and both[1][1] == (tmp_path / "run" / "model.fp16.onnx").stat().st_size
    assert found.pruned.size_bytes == 4 * (found.pruned.params or 0)  # in fp32, which was not exported
    assert forms_of(tmp_path / "run", "pruned").onnx is None  # model.onnx is there still, but of another export
    with pytest.raises(BenchError, match=r"not measured on onnxruntime:cpu: it has onnxruntime:cpu@fp16 batch 1"):
        judge(found, None, Limits(targets=("onnxruntime:cpu",)))
    from secateur.export.ort_engine import widening

    expected = "fail" if widening(tmp_path / "run" / "model.fp16.onnx", "cpu") else "pass"  # it runs in fp32, or not
    assert judge(found, None, Limits(min_speedup=1e-3, targets=("onnxruntime:cpu@fp16",))).outcome == expected


@needs_ort
def test_a_graph_that_the_runtime_has_no_kernels_for_is_skipped_by_name(typed_run: Run, tmp_path: Path) -> None:
    found = measured(typed_run, tmp_path / "run", ("fp32", "bf16"), "onnxruntime:cpu")
    assert "onnxruntime:cpu" in found.speedup
    assert "onnxruntime:cpu@bf16" in {**found.speedup, **found.skipped}
    for reason in found.skipped.values():
        assert "NOT_IMPLEMENTED" in reason


@no_gpu
def test_a_run_of_which_nothing_can_be_measured_is_an_error_with_the_reasons(typed_run: Run, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"nothing was measured \(tensorrt: .*no engine for.*secateur doctor"):
        measured(typed_run, tmp_path / "run", ("fp32",), "tensorrt")


def test_why_an_engine_was_not_built_is_why_it_is_not_measured(typed_run: Run, tmp_path: Path) -> None:
    shutil.copytree(typed_run.folder, tmp_path / "run")
    BuildFile((), {"tensorrt_rtx:sm_86@fp16": "this GPU has none of it"}).save(tmp_path / "run")
    side = forms_of(tmp_path / "run", "pruned")
    assert side.engines == {}
    assert "for tensorrt_rtx:sm_86 in fp16: this GPU has none of it" in why_not("tensorrt_rtx:sm_86@fp16", side)
    assert "build one with" in why_not("tensorrt_rtx:sm_86", side)


def test_a_dense_model_that_guesses_is_warned_of(
    typed_run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    measured(typed_run, tmp_path / "run", ("fp32",), "torch:cpu")
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert sum("which guessing among 10 classes reaches too" in message for message in said) == 1
