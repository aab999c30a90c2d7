"""What is known about an ONNX file that was written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from secateur.core.files import sha256_file
from secateur.export.graph_note import read_note
from secateur.export.graph_types import declared_precisions, graph_precision, graph_tensors, read_graph
from secateur.export.runner.tensors import TensorInfo

if TYPE_CHECKING:
    import onnx_ir as ir

KEPT, IMAGES = "secateur.float32", "secateur.images"
"""What the metadata of a graph calls the nodes that stay in float32, and the number of images that were measured."""


@dataclass(frozen=True)
class OnnxInfo:
    """What was exported. `external` names the file of the weights where they did not fit into the .onnx itself.

    The name of that file holds the hash of the weights, so that `sha256`, the hash of the .onnx, stands for both.
    `kept` are the nodes of a graph in fp16, bf16 or 8 bits that compute in float32, each with its reason; `images` says
    how many calibration images these were found on, 0 where no range was measured.
    """

    path: Path
    opset: int
    precision: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    nodes: int
    size_bytes: int
    sha256: str
    external: str = ""
    kept: Mapping[str, str] = field(default_factory=dict)
    images: int = 0


def onnx_info(path: Path, external: str = "") -> OnnxInfo:
    """What the graph at `path` says about itself; `external` names the file of its weights, where they are in one."""
    content = read_graph(path)
    notes = {entry.key: entry.value for entry in content.metadata_props}
    takes, gives = graph_tensors(content)
    size_bytes = path.stat().st_size + ((path.parent / external).stat().st_size if external else 0)
    return OnnxInfo(
        path=path,
        opset=next(entry.version for entry in content.opset_import if entry.domain in ("", "ai.onnx")),
        precision=graph_precision(declared_precisions(content)),
        inputs=takes,
        outputs=gives,
        nodes=len(content.graph.node),
        size_bytes=size_bytes,
        sha256=sha256_file(path),
        external=external,
        kept=read_note(notes, KEPT, dict[str, str], str(path), "{}"),
        images=read_note(notes, IMAGES, int, str(path), "0"),
    )


def note_kept(program: ir.Model, kept: Mapping[str, str], images: int) -> None:
    """Writes into the program's metadata which nodes are in float32 and why, and how many `images` were measured."""
    program.metadata_props.update({KEPT: json.dumps(dict(kept)), IMAGES: str(images)})
