"""engine.json: written and read back, and checked against its engine."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur.core.errors import EngineError, RunError
from secateur.core.files import sha256_file
from secateur.export.engine_info import INFO_FILE, EngineInfo, Layer, Profile, count_precisions
from secateur.export.preprocessing import Preprocessing
from secateur.export.runner.tensors import TensorInfo

LAYERS = (Layer("a", "CONVOLUTION", "fp16"), Layer("b", "CAST", "fp32"), Layer("c", "MATRIX_MULTIPLY", "fp16"))
ENGINE = EngineInfo(
    target="tensorrt_rtx:sm_86",
    runtime="tensorrt_rtx",
    runtime_version="1.7.1",
    platform="linux-x86_64",
    compute_capabilities=("sm_86",),
    precision="fp16",
    precisions=count_precisions(LAYERS),
    inspected="network",
    tf32=True,
    inputs=(TensorInfo("input", "float32", (-1, 3, 8, 8)),),
    outputs=(TensorInfo("logits", "float32", (-1, 4)),),
    profile=Profile(1, 2, 3),
    onnx_sha256="0" * 64,
    engine_sha256="0" * 64,
    size_bytes=4,
    seconds=0.25,
    layers=LAYERS,
    preprocessing=Preprocessing((3, 8, 8), (0.5,) * 3, (0.25,) * 3),
    classes=("cat", "dog"),
    secateur_version="0.1.0",
)


@pytest.fixture
def info(tmp_path: Path) -> EngineInfo:
    (tmp_path / "model.engine").write_bytes(b"plan")
    made = replace(ENGINE, engine_sha256=sha256_file(tmp_path / "model.engine"), folder=tmp_path)
    made.save()
    return made


def test_what_is_written_is_read_back(info: EngineInfo) -> None:
    content = json.loads((info.folder / INFO_FILE).read_text())
    assert content["schema"] == "secateur.engine/1"
    assert content["precisions"] == {"fp16": 2, "fp32": 1}
    assert "folder" not in content
    found = EngineInfo.load(info.folder)
    assert found == info
    assert found.conversions == {"CAST": 1}
    found.check_file()


def test_another_engine_file_is_refused(info: EngineInfo) -> None:
    info.path.write_bytes(b"plot")
    with pytest.raises(EngineError, match=r"is not the file that engine.json beside it describes"):
        info.check_file()
    info.path.unlink()
    with pytest.raises(EngineError, match="is missing"):
        info.check_file()


@pytest.mark.parametrize(
    "change",
    [
        {"layers": [{"name": "a"}]},
        {"inputs": [{"name": "x", "dtype": "f", "shape": 3}]},
        {"profile": None},
        {"sped": 1},
        {"folder": "elsewhere"},
    ],
)
def test_a_damaged_description_is_refused(info: EngineInfo, change: dict[str, object]) -> None:
    path = info.folder / INFO_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(EngineError, match=r"engine\.json.*build the engine again"):
        EngineInfo.load(info.folder)


def test_another_schema_is_refused(info: EngineInfo) -> None:
    path = info.folder / INFO_FILE
    path.write_text(path.read_text().replace("secateur.engine/1", "secateur.engine/9"))
    with pytest.raises(RunError, match=r"secateur.engine/9"):
        EngineInfo.load(info.folder)


@given(st.tuples(*[st.integers(-2, 6)] * 3))
def test_profiles_rise(sizes: tuple[int, int, int]) -> None:
    if sizes[0] >= 1 and sorted(sizes) == list(sizes):
        Profile(*sizes)
    else:
        with pytest.raises(EngineError, match="1 or more"):
            Profile(*sizes)


@given(st.lists(st.integers(1, 100), min_size=1, unique=True))
def test_a_profile_covers_the_batches_that_are_asked_for(batches: list[int]) -> None:
    found = Profile.covering(batches)
    assert (found.smallest, found.usual) == (1, batches[0])
    assert found.largest == max(8, *batches)
