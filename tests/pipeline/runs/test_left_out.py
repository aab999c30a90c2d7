from __future__ import annotations

from pathlib import Path

import pytest

from secateur.core.errors import EngineError
from secateur.export.artefacts import BuildFile
from secateur.pipeline.runs.left_out import check_built, left_out
from secateur.pipeline.runs.stages import STAGES
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
    assert [stage.name for stage in STAGES if left_out(folder, stage.name)] == ["export", "build", "bench"]


def test_a_build_that_built_nothing_is_an_error(tmp_path: Path) -> None:
    for fine in (BuildFile(), BUILT, BuildFile(("engines/tensorrt/model.engine",))):
        fine.save(tmp_path)
        check_built(tmp_path)
    BuildFile((), {"tensorrt": "there is no GPU"}).save(tmp_path)
    with pytest.raises(EngineError, match=r"^nothing was built \(tensorrt: there is no GPU\)"):
        check_built(tmp_path)
