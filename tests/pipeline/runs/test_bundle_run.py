"""The bundles of a run in four precisions, and of one whose graphs take pixels and have weights in files beside them.

They are verified, have the same bytes twice, and golden images of the calibration split.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from configparser import ConfigParser
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secateur.core.errors import EngineError, RunError
from secateur.core.files import sha256_file
from secateur.export.artefacts import BuildFile
from secateur.export.runner.bundle import open_bundle
from secateur.export.runner.golden import golden_inputs
from secateur.export.runner.infer import infer
from secateur.export.runner.npy import read_npy
from secateur.export.runner.runtimes import open_model
from secateur.export.runner.sensors.conditions import Conditions
from secateur.export.runner.verify import verify
from secateur.pipeline.runs import bundle_run as module
from secateur.pipeline.runs.bundle_run import bundle_run
from secateur.pipeline.runs.context import Run
from secateur.pipeline.runs.export_stage import engines_folder, graphs_of, onnx_name
from secateur.pipeline.runs.remote_build import device_folder
from tests.export.test_engine_info import ENGINE


@pytest.fixture(scope="module")
def packed(typed_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("packed") / "typed.tar.zst"
    bundle_run(typed_run.folder, path, images=3)
    return path


def test_it_is_verified_in_every_precision_that_runs_here(packed: Path) -> None:
    found = verify(packed, latency=False)
    checks = [(check.name, check.where, check.outcome) for check in found.checks]
    assert found.exit_code == 0, found.sentence
    for precision in ("", "@fp16", "@int8"):
        assert ("golden", f"onnxruntime:cpu{precision}", "pass") in checks
    assert ("preprocessing", "", "pass") in checks


def test_what_servers_take_goes_in_where_it_is_asked_for(typed_run: Run, packed: Path, tmp_path: Path) -> None:
    said: list[str] = []
    manifest = bundle_run(typed_run.folder, tmp_path / "b", images=1, dense=False, serving=True, tell=said.append)
    names = {name for name in manifest.files if name.startswith("serving/")}
    assert any(name.startswith("serving/triton/") and name.endswith("/config.pbtxt") for name in names)
    assert any(name.startswith("serving/deepstream/fp32/") for name in names)
    assert all((tmp_path / "b" / name).is_file() for name in names)
    assert any(sentence.startswith("left out: deepstream: bf16: ") for sentence in said)
    assert verify(tmp_path / "b", ["onnxruntime:cpu"], latency=False).exit_code == 0
    with open_bundle(packed) as bundle:
        assert not any(name.startswith("serving/") for name in bundle.manifest.files)


def test_golden_images_are_of_the_calibration_split(packed: Path, typed_run: Run) -> None:
    images = typed_run.data.calibration
    with open_bundle(packed) as bundle:
        inputs = golden_inputs(bundle)["input"]
        names = bundle.manifest.golden.images
        assert {engine.target for engine in bundle.manifest.engines} == {"tensorrt_rtx:sm_86", "onnxruntime:cpu"}
        assert len(bundle.manifest.graphs) == 4
    assert len(names) == len(inputs) == 3
    for array, index in zip(inputs, (0, (len(images) - 1) // 2, len(images) - 1), strict=True):
        np.testing.assert_array_equal(array, typed_run.transform(images.read(index)).numpy())


def test_graphs_that_normalise_take_the_pixels_themselves(typed_run: Run) -> None:
    images, transform = typed_run.data.calibration, typed_run.transform
    _, pixels = module._golden(images, transform, True, 2)
    _, inputs = module._golden(images, transform, False, 2)
    assert (pixels.dtype, pixels.shape) == (np.dtype("uint8"), (2, 16, 16, 1))
    np.testing.assert_allclose((pixels / 255 - transform.mean) / transform.std, inputs.transpose(0, 2, 3, 1), atol=1e-5)


def test_the_same_run_gives_the_same_bytes_and_less_without_the_dense_model(
    packed: Path, typed_run: Run, tmp_path: Path
) -> None:
    bundle_run(typed_run.folder, tmp_path / "again.tar.zst", images=3)
    assert (tmp_path / "again.tar.zst").read_bytes() == packed.read_bytes()
    manifest = bundle_run(typed_run.folder, tmp_path / "small", images=1, dense=False)
    assert not any(name.startswith("dense/") for name in manifest.files)


@pytest.fixture(scope="module")
def pixels(pixel_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of `pixel_run` as a folder, with what servers take; nobody may change it."""
    folder = tmp_path_factory.mktemp("packed") / "pixels"
    bundle_run(pixel_run.folder, folder, images=2, serving=True)
    return folder


def test_pixels_go_in_and_a_picture_is_named(pixels: Path, pixel_run: Run) -> None:
    found = verify(pixels, seconds=0.05)
    passed = [(check.name, check.where) for check in found.checks if check.outcome == "pass"]
    assert {("preprocessing", ""), ("golden", "onnxruntime:cpu@int8")} <= {*passed}
    (latency,) = (check for check in found.checks if check.name == "latency")
    assert latency.where == "onnxruntime:cpu@int8" and latency.value is not None  # beside the dense graph
    picture = pixels / "golden" / "image.1.png"
    with open_bundle(pixels) as bundle:
        inputs, classes = golden_inputs(bundle)["input"], pixel_run.data.classes
        said = infer(bundle, picture, top=1)
        with open_model(bundle.path("onnx/model.int8.onnx"), "onnxruntime:cpu") as model:
            logits = model.run({"input": inputs})["logits"]
    assert (inputs.dtype, inputs.shape) == (np.dtype("uint8"), (2, 16, 16, 1))
    assert said["top"][0][0]["class"] == classes[int(logits[1].argmax())]


def test_what_servers_take_of_it_gives_the_golden_outputs(pixels: Path) -> None:
    triton, nvinfer = pixels / "serving/triton/vit_tiny_patch16_224_onnx", pixels / "serving/deepstream/int8"
    config = (triton / "config.pbtxt").read_text()
    assert 'name: "input" data_type: TYPE_UINT8 dims: [ 16, 16, 1 ]' in config
    with open_bundle(pixels) as bundle:
        inputs, graph = golden_inputs(bundle)["input"], bundle.manifest.graph("int8")
        golden = read_npy(bundle.path(graph.golden["logits"]), "golden")
    keys = ConfigParser()
    keys.read(nvinfer / "config_infer.txt")
    assert (keys["property"]["net-scale-factor"], keys["property"]["offsets"]) == ("1.0", "0.0")
    planar = inputs.transpose(0, 3, 1, 2).astype(np.float32)
    for path, given in ((triton / "1/model.onnx", inputs), (nvinfer / "model.onnx", planar)):
        with open_model(path, "onnxruntime:cpu", 1) as model:
            found = model.run({"input": given})["logits"]
        assert np.abs(found - golden).max() <= 1e-5 * np.abs(golden).max()


def test_weights_beside_the_graphs_go_along(pixels: Path, pixel_run: Run, tmp_path: Path) -> None:
    places = {"onnx": "pruned", "dense": "dense"}
    beside = {f"{place}/{graphs_of(pixel_run.folder, side)['int8'].external}" for place, side in places.items()}
    for name in beside:
        assert (pixels / name).read_bytes() == (pixel_run.folder / Path(name).name).read_bytes()
    with open_bundle(pixels) as bundle:
        assert beside < {*bundle.manifest.files}
    again = bundle_run(pixel_run.folder, tmp_path / "again.tar", images=2, serving=True)
    with open_bundle(pixels) as bundle:
        assert again == bundle.manifest  # with the SHA-256 of every file


def test_what_devices_have_built_goes_in_with_what_they_were(pixel_run: Run, tmp_path: Path) -> None:
    run = Path(shutil.copytree(pixel_run.folder, tmp_path / "run"))
    for device, capability, version in (("thor", "sm_110", "11.4.1"), ("orin", "sm_87", "10.3.0")):
        for side in ("pruned", "dense"):
            engine_there(run, device, side, compute_capabilities=(capability,), runtime_version=version)
    said: list[str] = []
    manifest = bundle_run(run, tmp_path / "b", images=1, tell=said.append)
    assert not said and [engine.name for engine in manifest.engines] == [
        "orin/tensorrt@int8",
        "thor/tensorrt@int8",
        "onnxruntime:cpu@int8",
    ]
    orin = manifest.engines[0]
    assert (orin.capabilities, orin.runtime_version, orin.device) == (("sm_87",), "10.3.0", "orin")
    assert (tmp_path / "b" / orin.path).read_bytes() == b"pruned of orin"
    assert (tmp_path / "b" / orin.dense).read_bytes() == b"dense of orin"
    environment = json.loads((tmp_path / "b" / "environment.json").read_bytes())["devices"]
    assert environment["thor"]["versions"] == {"tensorrt": "11.4.1"} and environment["thor"]["capabilities"] == [
        "sm_110"
    ]
    assert environment["orin"]["settings"] == {"nvpmodel": "mode of orin"} and {*environment} == {"orin", "thor"}
    assert bundle_run(run, tmp_path / "again.tar", images=1) == manifest  # with the SHA-256 of every file
    assert not any(one.dense for one in bundle_run(run, tmp_path / "c", images=1, dense=False).engines)
    engine_there(run, "thor", "pruned", onnx_sha256="0" * 64)
    assert len(bundle_run(run, tmp_path / "d", images=1, tell=said.append).engines) == 2
    assert said == [f"left out: tensorrt@int8 of thor: it was built from an earlier graph: {REMEDY.format(run)}"]
    (run / "devices/orin/engines/dense/tensorrt.int8/model.engine").write_bytes(b"another")
    with pytest.raises(EngineError, match=r"is not the file that engine.json beside it describes"):
        bundle_run(run, tmp_path / "e", images=1)
    assert not (tmp_path / "e").exists()


REMEDY = "`secateur build {} --device thor`"


def engine_there(run: Path, device: str, side: str, **fields: Any) -> None:
    """Puts an engine of a run, which nothing can load, where `build --device` would."""
    folder = device_folder(run, device)
    place = engines_folder(folder, side) / "tensorrt.int8"
    place.mkdir(parents=True, exist_ok=True)
    content = f"{side} of {device}".encode()
    (place / "model.engine").write_bytes(content)
    info = replace(
        ENGINE,
        target="tensorrt",
        runtime="tensorrt",
        precision="int8",
        onnx_sha256=sha256_file(run / onnx_name(side, "int8")),
        engine_sha256=hashlib.sha256(content).hexdigest(),
        conditions=Conditions({"nvpmodel": f"mode of {device}"}, (), (), (), (), {}),
        folder=place,
    )
    replace(info, **fields).save()
    there = [str(path.relative_to(folder)) for path in sorted(folder.rglob("engine.json"))]
    BuildFile(tuple(there)).save(folder)


def test_a_run_that_is_not_up_to_date(typed_run: Run, tmp_path: Path) -> None:
    shutil.copytree(typed_run.folder, tmp_path / "run")
    (tmp_path / "run" / "plan.json").write_text("{}")
    with pytest.raises(RunError, match=r"is not up to date \(plan: plan.json was changed\): bring it up to date"):
        bundle_run(tmp_path / "run", tmp_path / "x.tar")
    with pytest.raises(RunError, match="0 golden images were asked for"):
        bundle_run(typed_run.folder, tmp_path / "x.tar", images=0)
