"""What is known about an ONNX file that was written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from secateur.core.files import sha256_file
from secateur.export.graph_types import declared_precisions, graph_precision, graph_tensors, read_graph
from secateur.export.tensors import TensorInfo


@dataclass(frozen=True)
class OnnxInfo:
    """What was exported. `external` names the file of the weights where they did not fit into the .onnx itself.

    The name of that file holds the hash of the weights, so that `sha256`, the hash of the .onnx, stands for both.
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


def onnx_info(path: Path, external: str = "") -> OnnxInfo:
    """What the graph at `path` says about itself; `external` names the file of its weights, where they are in one."""
    content = read_graph(path)
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
    )
