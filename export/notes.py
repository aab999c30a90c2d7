"""What a graph or an engine carries for whoever deploys it: its classes, its preprocessing, and what made it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from secateur.core.errors import EngineError
from secateur.export.engine_info import ENGINE_FILE, INFO_FILE, EngineInfo
from secateur.export.graph_note import read_note
from secateur.export.graph_types import declared_precisions, graph_precision, graph_tensors, read_graph
from secateur.export.preprocessing import NOTE, Preprocessing
from secateur.export.runner.tensors import TensorInfo

if TYPE_CHECKING:
    import onnx

CLASSES = "secateur.classes"
"""What the metadata of a graph calls the names of the classes, in the order of the logits."""


@dataclass(frozen=True)
class Notes:
    """What a file says of itself: by which `version` of secateur it was made, how pictures go in, what comes out.

    What a graph of others does not say is empty or None. `target` is empty for a graph.
    """

    version: str
    precision: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    preprocessing: Preprocessing | None
    classes: tuple[str, ...]
    target: str = ""


def deployment_notes(preprocessing: Preprocessing, classes: tuple[str, ...]) -> dict[str, str]:
    """The `metadata` of `export_onnx` that `graph_notes` reads."""
    notes = {NOTE: preprocessing.to_note(), CLASSES: json.dumps(classes)}
    return {key.removeprefix("secateur."): value for key, value in notes.items()}


def read_notes(path: Path) -> Notes:
    """What the .onnx file, the engine's folder or the model.engine with its engine.json at `path` says of itself.

    Raises `ExportError`, `EngineError` or `RunError` for a file that is none.
    """
    if path.suffix == ".onnx":
        return graph_notes(read_graph(path), path.name)
    folder = path.parent if path.name == ENGINE_FILE else path
    if path.is_file() and not (folder / INFO_FILE).is_file():
        raise EngineError(
            f"{path} says nothing of itself, and is no {ENGINE_FILE} with its {INFO_FILE} beside it: name one in "
            "the folder that `secateur build` wrote"
        )
    info = EngineInfo.load(folder)
    says = info.secateur_version, info.precision, info.inputs, info.outputs, info.preprocessing, info.classes
    return Notes(*says, info.target)


def graph_notes(model: onnx.ModelProto, where: str) -> Notes:
    """What the graph `where` says of itself; raises `ExportError` for notes that are none of ours."""
    notes = {entry.key: entry.value for entry in model.metadata_props}
    takes, gives = graph_tensors(model)
    return Notes(
        version=notes.get("secateur.version", ""),
        precision=graph_precision(declared_precisions(model)),
        inputs=takes,
        outputs=gives,
        preprocessing=Preprocessing.from_note(notes, where),
        classes=read_note(notes, CLASSES, tuple[str, ...], where, "[]"),
    )
