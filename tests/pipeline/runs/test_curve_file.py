"""curve.json: read as it was written, and refused where a number is missing."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from secateur.core.errors import RunError
from secateur.pipeline.analysis.pruning_curve import Point
from secateur.pipeline.runs.curve_file import CurveFile, DenseCost, TracedCurve

BEGUN = TracedCurve("lrp:composite=gamma", 1, "x", None, (Point(0.0, 8.0, 7, 90.0), Point(0.5, 4.0, 3, 60.0)))
FILE = CurveFile("y", ("head", "channel"), "global", 20, DenseCost(8.0, 7), (BEGUN, TracedCurve("random", 0, "z")))


def test_it_is_read_as_it_was_written_with_the_keys_of_its_schema(tmp_path: Path) -> None:
    FILE.save(tmp_path / "curve.json")
    assert CurveFile.load(tmp_path / "curve.json") == FILE
    content = json.loads((tmp_path / "curve.json").read_text())
    assert list(content) == ["schema", "setting", "kinds", "allocate", "images", "dense", "curves"]
    assert list(content["curves"][0]) == ["label", "seed", "options", "a_pr", "points"]
    assert content["curves"][0]["points"][1] == asdict(BEGUN.points[1])
    del content["curves"][0]["points"][1]["top1"]
    (tmp_path / "curve.json").write_text(json.dumps(content))
    with pytest.raises(RunError, match=r"curves\.0\.points\.1\.top1"):
        CurveFile.load(tmp_path / "curve.json")


def test_a_finished_curve_has_the_mean_of_its_points() -> None:
    assert BEGUN.finished().a_pr == 75.0
    assert BEGUN.finished().key == BEGUN.key == ("lrp:composite=gamma", 1, "x")
    assert TracedCurve("random", 0, "z").finished().a_pr is None
