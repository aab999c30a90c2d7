"""What a run was asked for and left out, with the reasons: nothing of it may go unsaid."""

from __future__ import annotations

from pathlib import Path

from secateur.benchmarks.results_file import read_bench
from secateur.core.errors import EngineError
from secateur.export.artefacts import BuildFile, ExportFile


def left_out(folder: Path, stage: str) -> tuple[str, ...]:
    """One sentence for everything that a finished stage of a run was asked for and did not do.

    `export` tells of graphs that were not compared with PyTorch, `build` of engines that were not built, `bench` of
    targets that were not measured.
    """
    if stage == "export":
        files = ExportFile.load(folder).files
        return tuple(f"not checked: {name}: {one.not_checked}" for name, one in files.items() if one.not_checked)
    if stage == "build":
        return tuple(f"not built: {target}: {why}" for target, why in BuildFile.load(folder).skipped.items())
    if stage == "bench":
        return tuple(f"not measured: {target}: {why}" for target, why in read_bench(folder).skipped.items())
    return ()


def check_built(folder: Path) -> None:
    """Raises `EngineError` where engines were asked for and none was built."""
    found = BuildFile.load(folder)
    if found.skipped and not found.built:
        reasons = "; ".join(f"{target}: {why}" for target, why in found.skipped.items())
        raise EngineError(
            f"nothing was built ({reasons}): name a target in export.targets that this machine can build for; "
            "`secateur doctor` lists them"
        )
