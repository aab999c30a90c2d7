"""The bundle of a run in four precisions: verified, the same bytes twice, golden images of the calibration split."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from secateur.core.errors import RunError
from secateur.export.runner.bundle import open_bundle
from secateur.export.runner.golden import golden_inputs
from secateur.export.runner.verify import verify
from secateur.pipeline.runs import bundle_run as module
from secateur.pipeline.runs.bundle_run import bundle_run
from secateur.pipeline.runs.context import Run


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


def test_a_run_that_is_not_up_to_date(typed_run: Run, tmp_path: Path) -> None:
    shutil.copytree(typed_run.folder, tmp_path / "run")
    (tmp_path / "run" / "plan.json").write_text("{}")
    with pytest.raises(RunError, match=r"is not up to date \(plan: plan.json was changed\): bring it up to date"):
        bundle_run(tmp_path / "run", tmp_path / "x.tar")
    with pytest.raises(RunError, match="0 golden images were asked for"):
        bundle_run(typed_run.folder, tmp_path / "x.tar", images=0)
