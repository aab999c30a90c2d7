"""The export and build stages: both models as ONNX, proven against PyTorch, and the engines that the recipe names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn

from secateur.core.errors import EngineError, MissingPackageError
from secateur.core.files import read_json, write_json
from secateur.export.engines import build_engine
from secateur.export.parity import check_parity
from secateur.export.targets import parse_target
from secateur.export.to_onnx import export_onnx
from secateur.pipeline.runs.context import Run
from secateur.pipeline.structure.storage import load

Say = Callable[[str], None]
ONNX_BATCHES = (1, 2, 7)


def onnx_name(side: str, precision: str) -> str:
    """The file of a side (`dense` or `pruned`) in a precision: `model.onnx`, `model.dense.fp16.onnx`."""
    middle = ("" if side == "pruned" else ".dense") + ("" if precision == "fp32" else f".{precision}")
    return f"model{middle}.onnx"


def export_run(run: Run, say: Say) -> list[str]:
    """Writes the dense and the small model as ONNX in every precision, and `export.json` with the measured parity."""
    written, described = [], {}
    small = load(run.folder / "model")
    for side, model in (("pruned", small), ("dense", run.dense)):
        for precision in run.recipe.export.precisions:
            name = onnx_name(side, precision)
            say(f"writing {name}")
            described[name] = _export(model, run.folder / name, run.groups.input_shape, precision, say)
            written.append(name)
            if external := described[name]["external"]:
                written.append(external)
    write_json(run.folder / "export.json", "export", {"files": described})
    return [*written, "export.json"]


def engines_folder(run_dir: Path, side: str) -> Path:
    """Where the engines of a side are: `engines/<target>/`, and `engines/dense/<target>/` to compare with."""
    return run_dir / "engines" if side == "pruned" else run_dir / "engines" / "dense"


def build_run(run: Run, say: Say) -> list[str]:
    """Builds the small model's engine for every target of the recipe; `build.json` says what was left out and why.

    For a target that latency is measured on with an engine of its own, the dense model's engine is built too.
    """
    written: list[str] = []
    skipped: dict[str, str] = {}
    compared = [name for name in run.recipe.bench.targets if parse_target(name).needs_build]
    jobs = [("pruned", name) for name in dict.fromkeys([*run.recipe.export.targets, *compared])]
    for side, name in (*jobs, *(("dense", name) for name in compared)):
        target = parse_target(name)
        if target.runtime == "torch":
            skipped[name] = "PyTorch runs the model itself: there is no engine to build"
            continue
        for precision in run.recipe.export.precisions:
            say(f"building the {side} engine for {target}, {precision}")
            try:
                info = build_engine(run.folder / onnx_name(side, precision), target, engines_folder(run.folder, side))
            except (MissingPackageError, EngineError) as error:
                skipped[name if precision == "fp32" else f"{name} {precision}"] = str(error)
                say(str(error))
                continue
            written += [str((info.folder / file).relative_to(run.folder)) for file in ("model.engine", "engine.json")]
    write_json(run.folder / "build.json", "build", {"built": written, "skipped": skipped})
    return [*written, "build.json"]


def skipped_builds(folder: Path) -> dict[str, str]:
    """The targets of a run for which no engine was built, each with the reason."""
    skipped = read_json(folder / "build.json", "build")["skipped"]
    return {str(target): str(reason) for target, reason in skipped.items()}


def _export(model: nn.Module, path: Path, shape: tuple[int, ...], precision: str, say: Say) -> dict[str, Any]:
    info = export_onnx(model, path, input_shape=shape, precision=precision)
    content = {**asdict(info), "path": path.name}
    try:
        parity = check_parity(model, path, ONNX_BATCHES)
    except MissingPackageError as error:
        say(str(error))
        return {**content, "parity": None, "not_checked": str(error)}
    return {**content, "parity": asdict(parity)}
