"""What graphs and engines carry for whoever deploys them is what was noted, and others' graphs carry nothing."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

from secateur.core.errors import EngineError, ExportError, SecateurError
from secateur.export.graph_types import read_graph
from secateur.export.notes import CLASSES, deployment_notes, graph_notes, read_notes
from secateur.export.preprocessing import Preprocessing

RULE = Preprocessing((3, 8, 8), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.fixture
def graph(cnn_onnx: Path) -> onnx.ModelProto:
    return read_graph(cnn_onnx)


def noted(graph: onnx.ModelProto, **notes: str) -> onnx.ModelProto:
    onnx.helper.set_model_props(graph, {f"secateur.{key}": value for key, value in notes.items()})
    return graph


def test_what_is_noted_is_read(graph: onnx.ModelProto, tmp_path: Path) -> None:
    onnx.save(
        noted(graph, version="1.2", **deployment_notes(RULE, ("cat", 'd"og', "b\nird", "ox"))), tmp_path / "a.onnx"
    )
    found = read_notes(tmp_path / "a.onnx")
    assert (found.version, found.precision, found.target) == ("1.2", "fp32", "")
    assert found.preprocessing == RULE
    assert found.classes == ("cat", 'd"og', "b\nird", "ox")
    assert found.inputs[0].shape == (-1, 3, 8, 8) and found.outputs[0].name == "logits"


def test_a_graph_of_others_says_nothing(graph: onnx.ModelProto) -> None:
    found = graph_notes(noted(graph), "a.onnx")
    assert (found.version, found.preprocessing, found.classes) == ("", None, ())


@pytest.mark.parametrize("content", ["{", json.dumps({"a": 1}), json.dumps([1, None])])
def test_other_notes_are_refused(graph: onnx.ModelProto, content: str) -> None:
    with pytest.raises(ExportError, match=rf"^the note {CLASSES} of a.onnx.*again$"):
        graph_notes(noted(graph, classes=content), "a.onnx")


@pytest.mark.parametrize("name", ["x.engine", "model.engine"])
def test_an_engine_without_its_description_says_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"ftrt")
    with pytest.raises(
        EngineError, match=rf"{name} says nothing of itself, and is no model\.engine with its engine\.json"
    ):
        read_notes(tmp_path / name)


def test_an_engine_that_is_not_there_is_not_the_one_beside_it(tmp_path: Path) -> None:
    (tmp_path / "engine.json").write_text("{}")
    with pytest.raises(SecateurError, match=r"absent\.engine"):
        read_notes(tmp_path / "absent.engine")
