"""Graphs on disk: checked before they are there, and whole whatever interrupts the writing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import numpy_helper

from secateur.core.errors import ExportError, RunError
from secateur.core.files import remove_leftovers
from secateur.export import graph_file
from secateur.export.graph_file import write_graph

Program = Callable[[float], ir.Model]


@pytest.fixture
def program(cnn_onnx: Path) -> Program:
    """Makes the CNN's graph with its weights multiplied by a factor."""

    def made(factor: float) -> ir.Model:
        model = onnx.load(str(cnn_onnx))
        for tensor in model.graph.initializer:
            if tensor.data_type == onnx.TensorProto.FLOAT:
                array = np.float32(factor) * numpy_helper.to_array(tensor)
                tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
        return ir.from_proto(model)

    return made


def weights_of(path: Path) -> float:
    """The sum of the absolute weights of a graph, those beside it among them."""
    arrays = [numpy_helper.to_array(tensor) for tensor in onnx.load(str(path)).graph.initializer]
    return float(sum(np.abs(array).sum() for array in arrays if array.dtype == np.float32))


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every weight is too large for the graph's own file."""
    monkeypatch.setattr(graph_file, "EMBED_LIMIT_BYTES", 100)


@pytest.mark.parametrize("limit", [graph_file.EMBED_LIMIT_BYTES, 0])
def test_an_invalid_graph_never_reaches_the_disk(
    program: Program, limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str, full_check: bool) -> None:
        raise onnx.checker.ValidationError("the graph is broken")

    monkeypatch.setattr(onnx.checker, "check_model", refuse)
    monkeypatch.setattr(graph_file, "EMBED_LIMIT_BYTES", limit)
    with pytest.raises(ExportError, match="the graph is broken"):
        write_graph(program(1), tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_graph_that_is_really_invalid_is_refused(program: Program, tmp_path: Path) -> None:
    broken = program(1)
    next(node for node in broken.graph if node.op_type == "Conv").op_type = "Convolve"
    with pytest.raises(ExportError, match=r"is not valid ONNX \(.*Convolve"):
        write_graph(broken, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_other_weights_have_another_name_and_the_old_ones_go(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.onnx"
    limit = graph_file.EMBED_LIMIT_BYTES
    monkeypatch.setattr(graph_file, "EMBED_LIMIT_BYTES", 100)
    names, sums = [], []
    for factor in (1, 2):
        external = write_graph(program(factor), path)
        assert sorted(file.name for file in tmp_path.iterdir()) == [path.name, external]
        names.append(external)
        sums.append(weights_of(path))
    assert names[0] != names[1]
    assert sums[1] == pytest.approx(2 * sums[0])
    monkeypatch.setattr(graph_file, "EMBED_LIMIT_BYTES", limit)
    assert write_graph(program(1), path) == ""
    assert list(tmp_path.iterdir()) == [path]


def test_a_graph_that_was_made_from_a_larger_one_holds_its_own_weights(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = graph_file.EMBED_LIMIT_BYTES
    monkeypatch.setattr(graph_file, "EMBED_LIMIT_BYTES", 100)
    write_graph(program(1), tmp_path / "large" / "model.onnx")
    wanted, smaller = weights_of(tmp_path / "large" / "model.onnx"), ir.load(tmp_path / "large" / "model.onnx")
    for bound, beside in ((100, True), (limit, False)):
        monkeypatch.setattr(graph_file, "EMBED_LIMIT_BYTES", bound)
        assert bool(write_graph(smaller, tmp_path / f"{bound}" / "model.onnx")) == beside
    shutil.rmtree(tmp_path / "large")
    assert weights_of(tmp_path / "100" / "model.onnx") == weights_of(tmp_path / f"{limit}" / "model.onnx") == wanted


def test_a_new_pair_that_fails_leaves_the_old_pair(
    program: Program, beside: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.onnx"
    write_graph(program(1), path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    real = Path.replace

    def failing(self: Path, target: Path) -> Path:
        if Path(target) == path:
            raise OSError(28, "No space left on device")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", failing)
    with pytest.raises(RunError, match="No space left"):
        write_graph(program(2), path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_what_a_killed_process_leaves_goes_with_the_other_leftovers(
    program: Program, beside: None, tmp_path: Path
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as killed, pytest.raises(KeyboardInterrupt):
        killed.setattr(onnx.checker, "check_model", refuse)
        killed.setattr(shutil, "rmtree", lambda folder: None)
        write_graph(program(1), tmp_path / "model.onnx")
    assert any(path.is_dir() for path in tmp_path.iterdir())
    remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == []
