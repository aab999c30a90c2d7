"""What servers take of a run: a model repository for Triton, and a configuration of DeepStream for each precision."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from secateur.core.errors import ExportError
from secateur.core.records import read_record, write_record
from secateur.export.serving.deepstream import write_deepstream
from secateur.export.serving.triton import ENDINGS, write_triton
from secateur.pipeline.runs.export_stage import engines_of_side, graphs_of
from secateur.pipeline.runs.runner import current_run


@dataclass(frozen=True)
class Served:
    """The files that were written, relative to their folder, and what was left out, each with the reason."""

    files: tuple[str, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)


def serving_run(folder: Path, out: Path, name: str, batch: int = 8) -> Served:
    """`write_serving` for the run in `folder`; raises `RunError` where that is not up to date."""
    current_run(folder, "build")
    return write_serving(folder, out, name, batch)


def write_serving(folder: Path, out: Path, name: str, batch: int = 8) -> Served:
    """Writes `triton/` and `deepstream/<precision>/` into `out`, of the small model of the run in `folder`.

    Both serve batches up to `batch`, engines those that they were built for. What an earlier call wrote there of the
    same name is replaced, as `.secateur-serving` there names it. Raises `ExportError` for a name that is no folder, and
    for a folder of somebody else in the place of one that is to be written.
    """
    _check_ours(out, name)
    graphs = {precision: info.path for precision, info in graphs_of(folder, "pruned").items()}
    engines = engines_of_side(folder, "pruned")
    built = [info for info in engines if info.runtime != "onnxruntime"]  # whose engines are the graphs
    out.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=out, prefix=".part-") as written_to:
        part = Path(written_to)
        repository = write_triton(part / "triton", name, list(graphs.values()), built, batch)
        files = [f"triton/{file}" for file in repository.files]
        left_out = {f"triton: {what}": why for what, why in repository.left_out.items()}
        for precision, path in graphs.items():
            try:
                written = write_deepstream(part / "deepstream" / precision, path, batch)
            except ExportError as error:
                left_out[f"deepstream: {precision}"] = str(error)
                continue
            files += [f"deepstream/{precision}/{file}" for file in written]
        _replace(part, out, name)
    return Served(tuple(files), left_out)


@dataclass(frozen=True)
class ServingFile:
    """.secateur-serving: the folders in a repository that secateur wrote, relative to it, which it may replace."""

    folders: tuple[str, ...] = ()

    NAME = ".secateur-serving"

    @staticmethod
    def load(out: Path) -> ServingFile:
        """What was written into `out` so far."""
        path = out / ServingFile.NAME
        return read_record(path, "serving_folders", ServingFile) if path.exists() else ServingFile()


def _places(name: str) -> list[str]:
    """The folders that models of this name may be written to."""
    return [*(f"triton/{name}_{ending}" for ending in ENDINGS), "deepstream"]


def _check_ours(out: Path, name: str) -> None:
    """Raises `ExportError` where a folder that is to be replaced was written by somebody else, or is a link."""
    ours = ServingFile.load(out).folders
    for place in _places(name):
        if (out / place).is_symlink() or ((out / place).exists() and place not in ours):
            raise ExportError(
                f"{out / place} was not written by secateur, and would be replaced: choose another --out or --name, or "
                "remove it"
            )


def _replace(part: Path, out: Path, name: str) -> None:
    """Puts what was written in the place of what an earlier call left, of which nothing may be served any more.

    Models of other names in the same repository stay.
    """
    ours = dict.fromkeys([*ServingFile.load(out).folders, *_places(name)])
    write_record(out / ServingFile.NAME, "serving_folders", ServingFile(tuple(ours)))
    for place in _places(name):
        if (out / place).exists():
            shutil.rmtree(out / place)
    for folder in (*(part / "triton").iterdir(), *part.glob("deepstream")):
        target = out / folder.relative_to(part)
        target.parent.mkdir(exist_ok=True)
        folder.replace(target)
