"""Engines of a run that are built on devices over ssh: `devices/<name>/` holds them, as the run holds its own."""

from __future__ import annotations

from pathlib import Path

from secateur.core.errors import EngineError, MissingPackageError
from secateur.core.files import sha256_once
from secateur.core.say import Say
from secateur.export.artefacts import BuildFile
from secateur.export.devices.device import Remote
from secateur.export.engine_info import ENGINE_FILE, INFO_FILE, EngineInfo, Profile
from secateur.export.engines import build_engine
from secateur.export.targets import TypedTarget, parse_target
from secateur.pipeline.runs.export_stage import engines_folder, onnx_name, wanted_engines
from secateur.pipeline.runs.recipe import Recipe


def device_folder(run_dir: Path, device: str) -> Path:
    """Where what was made on a device is, in a run."""
    return run_dir / "devices" / device


def build_on(run_dir: Path, recipe: Recipe, remote: Remote, say: Say) -> BuildFile:
    """Builds the engines that the recipe names on a device, and says in its `build.json` what was left out and why.

    Raises `DeviceError` where the device cannot be reached or refuses: engines from before are left as they are.
    """
    folder, written, skipped = device_folder(run_dir, remote.device.name), list[str](), dict[str, str]()
    for side, goal in wanted_engines(recipe):
        if goal.target.runtime == "torch":
            skipped[str(goal)] = "PyTorch runs the model itself: there is no engine to build"
            continue
        say(f"building the {side} engine for {goal.target}, {goal.precision}")
        graph, place = run_dir / onnx_name(side, goal.precision), engines_folder(folder, side)
        profile = Profile.covering(recipe.bench.batch)
        try:
            options = recipe.export.engines
            info = build_engine(graph, goal.target, place, profile=profile, options=options, remote=remote, say=say)
        except (MissingPackageError, EngineError) as error:
            skipped[str(goal)] = str(error)
            say(str(error))
            continue
        written += [str((info.folder / file).relative_to(folder)) for file in (ENGINE_FILE, INFO_FILE)]
    found = BuildFile(tuple(written), skipped)
    found.save(folder)
    return found


def devices_of(run_dir: Path) -> list[str]:
    """The devices that have built engines of a run."""
    return sorted(path.parent.name for path in device_folder(run_dir, "").glob(f"*/{BuildFile.NAME}"))


def engines_on(run_dir: Path, device: str, side: str) -> tuple[dict[str, EngineInfo], dict[str, str]]:
    """By target and precision the engines of a side that a device built from the present graphs, and why there is none.

    Those of ONNX Runtime are the graphs themselves and are left out.
    """
    folder = device_folder(run_dir, device)
    built = BuildFile.load(folder) if (folder / BuildFile.NAME).is_file() else BuildFile()
    engines: dict[str, EngineInfo] = {}
    absent = dict(built.skipped)
    for place in built.engines(folder):
        info = EngineInfo.load(place)
        goal = TypedTarget(parse_target(info.target), info.precision)
        if place.parent != engines_folder(folder, side) or not goal.target.needs_build:
            continue
        if sha256_once(run_dir / onnx_name(side, info.precision)) == info.onnx_sha256:
            engines[str(goal)] = info
        else:
            absent[str(goal)] = f"it was built from an earlier graph: `secateur build {run_dir} --device {device}`"
    return engines, absent
