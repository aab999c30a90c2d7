"""export.json and build.json: which graphs and engines a run directory holds, and what was left out and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from secateur.core.errors import ExportError
from secateur.core.files import read_json, write_json
from secateur.core.records import checked
from secateur.export.engine_info import INFO_FILE
from secateur.export.onnx_info import OnnxInfo
from secateur.export.parity import Parity
from secateur.export.quantize.quantize import Quantized

T = TypeVar("T")


@dataclass(frozen=True)
class ExportedGraph:
    """One ONNX file of a run and its `parity` with PyTorch; where there is none, `not_checked` says why.

    `quantized` says how a graph in 8 bits was made.
    """

    info: OnnxInfo
    parity: Parity | None = None
    not_checked: str = ""
    quantized: Quantized | None = None


@dataclass(frozen=True)
class ExportFile:
    """export.json: the ONNX files of a run directory by their names in it."""

    files: Mapping[str, ExportedGraph]

    NAME = "export.json"

    def save(self, folder: Path) -> None:
        """Writes `export.json` into the folder, atomically."""
        write_json(folder / self.NAME, "export", {"files": {name: _flat(one) for name, one in self.files.items()}})

    @staticmethod
    def load(folder: Path) -> ExportFile:
        """What `export.json` in `folder` says; raises `RunError` or `ExportError` for a file that is none."""
        path = folder / ExportFile.NAME
        content = read_json(path, "export")
        files = {name: _apart(one, path) for name, one in _checked(dict[str, Any], content.get("files"), path).items()}
        return ExportFile(_checked(dict[str, ExportedGraph], files, path))


@dataclass(frozen=True)
class BuildFile:
    """build.json: the files that were `built`, relative to the run directory, and the targets that were `skipped`.

    A target is named as in bench.json (`tensorrt_rtx:sm_86`, `tensorrt_rtx:sm_86@fp16`), with the reason.
    """

    built: tuple[str, ...] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)

    NAME = "build.json"

    def engines(self, folder: Path) -> list[Path]:
        """The folders of the built engines, of the run in `folder`."""
        return [path.parent for path in (folder / name for name in self.built) if path.name == INFO_FILE]

    def save(self, folder: Path) -> None:
        """Writes `build.json` into the folder, atomically."""
        write_json(folder / self.NAME, "build", asdict(self))

    @staticmethod
    def load(folder: Path) -> BuildFile:
        """What `build.json` in `folder` says; raises `RunError` or `ExportError` for a file that is none."""
        content = read_json(folder / BuildFile.NAME, "build")
        del content["schema"]
        return _checked(BuildFile, content, folder / BuildFile.NAME)


def _flat(graph: ExportedGraph) -> dict[str, Any]:
    """A graph as export.json has it: the fields of `OnnxInfo` beside those of the comparison."""
    parity = None if graph.parity is None else asdict(graph.parity)
    said = {"not_checked": graph.not_checked} if graph.not_checked else {}
    made = {"quantized": asdict(graph.quantized)} if graph.quantized else {}
    return {**asdict(graph.info), "parity": parity, **said, **made}


def _apart(content: Any, path: Path) -> dict[str, Any]:
    """What `_flat` made, as the fields of `ExportedGraph`."""
    info = dict(_checked(dict[str, Any], content, path))
    compared: dict[str, Any] = {key: info.pop(key) for key in ("parity", "not_checked", "quantized") if key in info}
    return {"info": info, **compared}


def _checked(kind: type[T], content: object, path: Path) -> T:
    return checked(kind, content, str(path), ExportError, "run `secateur export` and `secateur build` again")
