"""The bundle of a run: what its stages have written, golden images of the calibration split, and the evidence."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from secateur.core.errors import RunError
from secateur.core.say import Say
from secateur.export.artefacts import BuildFile
from secateur.export.bundle.contents import Contents, EngineOf, GraphOf, Picture
from secateur.export.bundle.licences import licences
from secateur.export.bundle.make import write_bundle
from secateur.export.onnx_info import OnnxInfo
from secateur.export.runner.manifest import Manifest
from secateur.export.runner.preprocess import Preprocessing
from secateur.pipeline.data.images import Images
from secateur.pipeline.data.transform import Transform
from secateur.pipeline.models.spec import pretrained_config
from secateur.pipeline.runs.bundle_evidence import evidence_of
from secateur.pipeline.runs.export_stage import engines_of_side, graphs_of, onnx_name
from secateur.pipeline.runs.manifest import read_manifest
from secateur.pipeline.runs.remote_build import device_folder, devices_of, engines_on
from secateur.pipeline.runs.runner import current_run
from secateur.pipeline.runs.serving_run import write_serving

IMAGES = 8
"""Golden images, where nobody says how many."""


def bundle_run(
    folder: Path,
    out: Path,
    *,
    images: int = IMAGES,
    dense: bool = True,
    serving: bool = False,
    say: Say = lambda message: None,
    tell: Say = lambda message: None,
) -> Manifest:
    """Writes the bundle of the run in `folder` as `out`, a folder or an archive (.tar, .tar.zst); returns its manifest.

    The golden images come from the calibration split, as evenly as `images` of them can; with `dense` the unpruned
    model's graphs and engines go in too, so that latency can be checked as a ratio, and with `serving` what Triton and
    DeepStream take, which holds the graphs and engines again. What devices over ssh have built of the run goes in, too.
    The same run gives the same bytes. What is left out is told with the reason. Raises `RunError` for a run that is not
    up to date, and `EngineError` for an engine of a device that was changed since.
    """
    run = current_run(folder, "bench")
    say("golden images")
    recipe = Preprocessing(**asdict(run.transform), inside=run.recipe.export.preprocessing == "inside")
    pictures, inputs = _golden(run.data.calibration, run.transform, recipe.inside, images)
    there = _engines_there(folder, dense, tell)
    pruned, unpruned = graphs_of(folder, "pruned"), graphs_of(folder, "dense")
    bench, recorded = run.bench, read_manifest(folder)
    say("golden outputs")
    contents = Contents(
        model=run.recipe.model.name,
        classes=run.data.classes,
        activation=run.task.activation,
        preprocessing=recipe,
        graphs=[
            GraphOf(info, unpruned.get(precision) if dense else None)
            for precision, info in sorted(pruned.items(), key=lambda item: onnx_name("pruned", item[0]))
        ],
        engines=[*_engines(folder, dense), *there],
        pictures=pictures,
        inputs={_input_name([*pruned.values(), *unpruned.values()]): inputs},
        evidence=evidence_of(bench),
        environment={
            "bench": asdict(bench.environment),
            "stages": {name: dict(entry.versions) for name, entry in recorded.items()},
            "devices": _devices(there),
        },
        licences=licences(run.recipe.model.name, str(pretrained_config(run.dense).get("license") or "")),
    )
    with TemporaryDirectory() as place:
        beside = _serving(folder, Path(place), run.recipe.model.name, say, tell) if serving else {}
        return write_bundle(replace(contents, beside=beside), out)


def _serving(folder: Path, place: Path, name: str, say: Say, tell: Say) -> dict[str, Path]:
    """What servers take of the run, written below `place`, by its names in the bundle."""
    say("files for servers")
    served = write_serving(folder, place, re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_") or "model")
    for what, why in served.left_out.items():
        tell(f"left out: {what}: {why}")
    return {f"serving/{file}": place / file for file in served.files}


def _golden(images: Images, transform: Transform, inside: bool, count: int) -> tuple[list[Picture], NDArray[Any]]:
    """`count` of the images as they are stored, evenly spread in their order, and the inputs that they become."""
    if count < 1:
        raise RunError(f"{count} golden images were asked for, but at least 1 is needed")
    chosen = np.unique(np.linspace(0, len(images) - 1, min(count, len(images))).astype(int))
    if inside:
        transform = replace(transform, mean=(0.0,) * len(transform.mean), std=(1 / 255,) * len(transform.std))
    inputs = torch.stack([transform(images.read(int(index))) for index in chosen]).numpy()
    if inside:
        inputs = inputs.round().astype(np.uint8).transpose(0, 2, 3, 1)
    return [Picture(*images.file(int(index))) for index in chosen], inputs


def _engines(folder: Path, dense: bool) -> list[EngineOf]:
    """The engines of the run, each with the dense model's where there is one and it is wanted."""
    beside = {(info.target, info.precision): info for info in engines_of_side(folder, "dense")} if dense else {}
    return [EngineOf(info, beside.get((info.target, info.precision))) for info in engines_of_side(folder, "pruned")]


def _engines_there(folder: Path, dense: bool, tell: Say) -> list[EngineOf]:
    """The engines of the run that devices over ssh have built from its graphs; those from earlier graphs are told."""
    found = []
    for device in devices_of(folder):
        (pruned, absent), (unpruned, _) = (engines_on(folder, device, side) for side in ("pruned", "dense"))
        for goal in sorted(set(absent) - set(BuildFile.load(device_folder(folder, device)).skipped)):
            tell(f"left out: {goal} of {device}: {absent[goal]}")
        for goal, info in sorted(pruned.items()):
            other = unpruned.get(goal) if dense else None
            for one in (info, *([other] if other else [])):
                one.check_file()  # which no stage of the run has recorded
            found.append(EngineOf(info, other, device))
    return found


def _devices(engines: Sequence[EngineOf]) -> dict[str, dict[str, Any]]:
    """What each device was that has built engines, by its name: its platform, GPU, versions and settings."""
    found: dict[str, dict[str, Any]] = {}
    for engine in engines:
        info = engine.pruned
        about = found.setdefault(engine.device, {"platform": info.platform, "versions": {}, "settings": {}})
        about["capabilities"] = info.compute_capabilities
        about["versions"][info.runtime] = info.runtime_version
        about["settings"].update(info.conditions.settings if info.conditions else {})
    return found


def _input_name(graphs: Sequence[OnnxInfo]) -> str:
    (name,) = {tensor.name for info in graphs for tensor in info.inputs}
    return name
