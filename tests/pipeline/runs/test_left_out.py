from __future__ import annotations

from pathlib import Path

import pytest

from secateur.pipeline.runs.left_out import left_out
from secateur.pipeline.runs.stages import NAMES
from tests.benchmarks.samples import result
from tests.export.test_artefacts import BUILT, EXPORTED


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    EXPORTED.save(tmp_path)
    BUILT.save(tmp_path)
    result(skipped={"torch:cuda": "no GPU"}).save(tmp_path / "bench.json")
    return tmp_path


@pytest.mark.parametrize(
    ("stage", "sentence"),
    [
        ("export", "not checked: model.onnx: why"),
        ("build", "not built: tensorrt@fp16: a reason"),
        ("bench", "not measured: torch:cuda: no GPU"),
    ],
)
def test_what_a_stage_left_out_is_said_with_the_reason(stage: str, sentence: str, folder: Path) -> None:
    assert left_out(folder, stage) == (sentence,)


def test_other_stages_leave_nothing_out(folder: Path) -> None:
    assert [stage for stage in NAMES if left_out(folder, stage)] == ["export", "build", "bench"]
