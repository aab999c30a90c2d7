"""An ONNX graph on disk: one file, or two where the weights do not fit into one."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from secateur.core.errors import ExportError
from secateur.core.files import atomic_path, temporary_path
from secateur.export.graph_types import first_line

if TYPE_CHECKING:
    import onnx_ir as ir

EMBED_LIMIT_BYTES = 1_900_000_000
"""Weights up to this size go into the .onnx file itself; protobuf refuses messages of 2 GiB."""


def write_graph(program: ir.Model, path: Path) -> str:
    """Writes the program to `path`, checked; returns the name of the file of the external weights, or "".

    External weights come first, under a name that holds their hash, then the .onnx that names them: whatever
    interrupts this, the old pair or the new pair is complete. What the program reads from the file of another graph is
    written too.
    """
    import onnx_ir as ir

    weights = [value.const_value for value in program.graph.initializers.values() if value.const_value is not None]
    if sum(tensor.nbytes for tensor in weights) <= EMBED_LIMIT_BYTES:
        ir.external_data.load_to_model(program)  # those of a larger graph that it was made from
        with atomic_path(path) as part:
            ir.save(program, part)
            _check_file(part)
        _remove_stale(path, "")
        return ""
    digest = hashlib.sha256()
    for tensor in weights:
        digest.update(tensor.tobytes())
    data = f"{path.name}.{digest.hexdigest()[:16]}.data"
    fresh = not (path.parent / data).exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = temporary_path(path)
    folder.mkdir()
    try:
        with atomic_path(path.parent / data) as part:
            ir.save(program, folder / path.name, external_data=data)
            _check_file(folder / path.name)
            (folder / data).replace(part)
        with atomic_path(path) as part:
            (folder / path.name).replace(part)
    except BaseException:
        if fresh:
            (path.parent / data).unlink(missing_ok=True)
        raise
    finally:
        shutil.rmtree(folder)
    _remove_stale(path, data)
    return data


def _remove_stale(path: Path, data: str) -> None:
    """Removes weights that an earlier export left beside `path` and that the new file does not name."""
    for old in path.parent.glob(f"{path.name}.{'[0-9a-f]' * 16}.data"):
        if old.name != data:
            old.unlink()


def _check_file(path: Path) -> None:
    import onnx

    try:
        onnx.checker.check_model(str(path), full_check=True)
    except Exception as error:  # the checker and the shape inference raise unrelated types
        raise ExportError(
            f"the exported graph is not valid ONNX ({first_line(error)}): the exporter has a bug for this model; "
            "try another opset or precision"
        ) from error
