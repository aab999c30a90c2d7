"""What the export and build stages leave: a graph and an engine for every precision, and a word on all others."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from secateur.core.errors import RecipeError
from secateur.core.version import __version__
from secateur.export.artefacts import BuildFile, ExportFile
from secateur.export.engine_info import EngineInfo, Profile
from secateur.export.engines import open_engine
from secateur.export.graph_types import declared_precisions, graph_precision, read_graph
from secateur.export.notes import read_notes
from secateur.export.precision import PRECISIONS as TYPES
from secateur.export.precision import TOLERANCES
from secateur.export.preprocessing import Preprocessing
from secateur.export.quantize.observe import CalibrationFeeds
from secateur.export.runner.tensors import TensorInfo
from secateur.pipeline.analysis.graph_judge import GraphJudge
from secateur.pipeline.runs.context import Run
from secateur.pipeline.runs.export_stage import engines_folder, export_run, onnx_name
from secateur.pipeline.runs.recipe import recipe_of
from secateur.pipeline.runs.runner import open_run, run_stages
from tests.pipeline.runs.conftest import TYPED
from tests.pipeline.runs.handed import handed
from tests.pipeline.runs.small_run import make_inputs
from tests.pipeline.runs.small_run import recipe_of as small_recipe

SIDES = ("dense", "pruned")
PRECISIONS = (*TYPES, "int8")
needs_rtx = pytest.mark.skipif(find_spec("tensorrt_rtx") is None, reason="tensorrt_rtx is not installed")


def test_names() -> None:
    assert onnx_name("pruned", "fp32") == "model.onnx"
    assert onnx_name("dense", "fp16") == "model.dense.fp16.onnx"


def test_every_precision_is_exported_and_compared_at_the_batches_of_the_proof(typed_run: Run) -> None:
    files = ExportFile.load(typed_run.folder).files
    assert set(files) == {onnx_name(side, precision) for side in SIDES for precision in PRECISIONS}
    for name, graph in files.items():
        assert graph.info.path.name == name
        assert name == onnx_name("dense" if "dense" in name else "pruned", graph.info.precision)
        assert graph_precision(declared_precisions(read_graph(typed_run.folder / name))) == graph.info.precision
        assert graph.parity is not None
        assert graph.parity.tolerance == {**TOLERANCES, "fp16": 0.02, "int8": 0.3}[graph.info.precision]
        if graph.info.precision == "int8":
            assert graph.quantized is not None and graph.quantized.images == 20
            assert graph.quantized.products > 0
            assert graph.quantized.limited is not None
            assert (graph.quantized.limited.drop.images, graph.quantized.limited.metric) == (40, "top-1 accuracy")
            assert len(graph.quantized.limited.layers) == 8
            assert sum(difference.batch for difference in graph.parity.differences) == 5  # every fourth image
        else:
            assert {difference.batch for difference in graph.parity.differences} == {1, 2, 7}


def test_graphs_and_engines_carry_what_is_needed_to_deploy_them(typed_run: Run) -> None:
    transform, folder = typed_run.transform, typed_run.folder
    files = [folder / onnx_name(side, precision) for side in SIDES for precision in PRECISIONS]
    for path in (*files, *BuildFile.load(folder).engines(folder)):
        notes = read_notes(path)
        assert notes.classes == tuple(map(str, range(10)))
        assert notes.version == __version__
        assert notes.preprocessing is not None and not notes.preprocessing.inside
        assert notes.preprocessing == Preprocessing(**asdict(transform))
        assert notes.inputs[0].shape == (-1, *notes.preprocessing.shape)


@needs_rtx
def test_each_precision_has_an_engine_of_its_own_for_the_batches_that_are_measured(typed_run: Run) -> None:
    built = BuildFile.load(typed_run.folder)
    for side in SIDES:
        for precision in PRECISIONS:
            ending = "" if precision == "fp32" else f".{precision}"
            info = EngineInfo.load(engines_folder(typed_run.folder, side) / f"tensorrt_rtx-sm_86{ending}")
            info.check_file()
            assert info.precision == precision
            assert info.profile == Profile(1, 16, 16)  # of batches 16 and 1, the first of them 16
            assert str(info.path.relative_to(typed_run.folder)) in built.built


def test_what_was_not_built_is_said(typed_run: Run) -> None:
    built = BuildFile.load(typed_run.folder)
    places = [typed_run.folder / name for name in built.built]
    assert all(path.is_file() for path in places)
    page = (typed_run.folder / "trtexec.md").read_text()
    for name in ExportFile.load(typed_run.folder).files:
        assert f"## {name}: batches 1 to 16, timed at 16" in page
    folders = {path.parent.name for path in places}
    for goal, folder in (("onnxruntime:cpu", "onnxruntime-cpu"), ("onnxruntime:cpu@fp16", "onnxruntime-cpu.fp16")):
        assert (folder in folders) != (goal in built.skipped)


def test_what_was_measured_is_kept_and_that_of_other_images_is_not_taken(
    typed_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(typed_run.folder, tmp_path / "run")
    settings = ["export.precisions=[int8]"]
    before = ExportFile.load(typed_run.folder).files["model.int8.onnx"]
    for name in ("divergence", "drop"):
        monkeypatch.setattr(GraphJudge, name, None)  # nothing is measured again
    said: list[str] = []
    run = open_run(tmp_path / "run", recipe_of(TYPED, settings), update=True)
    export_run(handed(run, "export"), said.append)
    assert ExportFile.load(run.folder).files["model.int8.onnx"] == before
    monkeypatch.undo()
    settings += ["export.quantize.samples_per_class=3", "export.quantize.rule=minmax", "export.quantize.correct=false"]
    run = open_run(tmp_path / "run", recipe_of(TYPED, settings), update=True)
    export_run(handed(run, "export"), said.append)
    anew = [words for words in said if "measured anew" in words]
    assert len(anew) == 2 and "calibration.pruned.safetensors is of other images" in anew[0]
    assert ExportFile.load(run.folder).files["model.int8.onnx"].quantized.images == 30


@pytest.mark.nightly
def test_a_plan_of_units_and_bits_is_what_is_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    check = CalibrationFeeds.__init__

    def counted(feeds: CalibrationFeeds, loader: Iterable[Any], takes: Sequence[TensorInfo]) -> None:
        read.append(1)
        check(feeds, loader, takes)

    monkeypatch.setattr(CalibrationFeeds, "__init__", counted)
    make_inputs(tmp_path)
    settings = ["budget.bit_ops=0.3", "plan.allocate=joint", "export.precisions=[int8]", "score.method=magnitude"]
    settings += ["export.quantize.rule=minmax", "export.quantize.correct=false", "recover.compensate=false"]
    run = open_run(tmp_path / "run", small_recipe(tmp_path, *settings, "score.options={}"))
    run_stages(run, "export")
    assert len(read) == 2  # the plan's images, and those of all graphs
    facts = run.plan.facts
    assert facts is not None and facts.budget == "bit_ops" and facts.cost <= facts.limit
    graph = ExportFile.load(run.folder).files["model.int8.onnx"].quantized
    assert graph is not None and graph.products == len(facts.precisions) > 0
    assert any("names it by" in reason for reason in graph.kept.values()) == (len(facts.precisions) < 6)
    with pytest.raises(RecipeError, match=r"plan.allocate is joint, .* export.precisions is \['fp32'\]: add int8"):
        small_recipe(tmp_path, *settings, "score.options={}", "export.precisions=[fp32]")


@pytest.mark.skipif(find_spec("onnxruntime") is None, reason="onnxruntime is not installed")
def test_graphs_take_pixels_where_the_preprocessing_is_inside(pixel_run: Run) -> None:
    files = ExportFile.load(pixel_run.folder).files
    assert {str(one) for graph in files.values() for one in graph.info.inputs} == {"input uint8 [batch, 16, 16, 1]"}
    assert {graph.info.precision for graph in files.values()} == {"int8"}
    assert all((pixel_run.folder / graph.info.external).is_file() for graph in files.values())
    picture = pixel_run.data.evaluation.read(0)
    with torch.no_grad():
        wanted = pixel_run.model_in("model")(pixel_run.transform(picture)[None]).numpy()
    with open_engine(pixel_run.folder / "model.int8.onnx", "onnxruntime:cpu") as engine:
        sized = picture.convert("L").resize((16, 16), Image.Resampling.BICUBIC)
        found = engine.infer({"input": np.asarray(sized)[None, :, :, None]})["logits"]
    assert np.abs(found - wanted).max() <= 0.25 * np.abs(wanted).max()
