"""`secateur curve`: what it asks for, and what it refuses before anything is measured."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from secateur.core.errors import PlanError
from secateur.pipeline.analysis.pruning_curve import RATES, Point
from secateur.pipeline.runs import curves
from secateur.pipeline.runs.curve_file import CurveFile, DenseCost, TracedCurve
from tests.pipeline.cli.conftest import Command

MEASURED = CurveFile(
    "x", ("head",), "global", 3, DenseCost(5.0, 4), (TracedCurve("random", 0, "y", 9.0, (Point(0.5, 2.0, 3, 9.0),)),)
)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What each call of the library got, whose result is handed back as it is."""
    calls: list[dict[str, Any]] = []
    names = ("run", "lines", "folder", "shape", "seeds", "random_seeds", "images_per_class", "verify")

    def traced(*words: Any, report: Any) -> CurveFile:
        calls.append(dict(zip(names, words, strict=True)))
        return MEASURED

    monkeypatch.setattr(curves, "trace_curves", traced)
    return calls


def test_methods_kinds_and_rates(asked: list[dict[str, Any]], run_dir: Path, secateur: Command) -> None:
    done = secateur(
        *("curve", run_dir, "--methods", "random lrp:composite=gamma", "--kinds", "head,channel"),
        *("--rates", "0,0.5", "--allocate", "uniform", "--random-seeds", 3, "--no-verify"),
    )
    assert done.stdout.strip() == str(run_dir / "curves" / "curve.png")
    (call,) = asked
    assert [(line.method, dict(line.options)) for line in call["lines"]] == [
        ("random", {}),
        ("lrp", {"composite": "gamma"}),
    ]
    shape = call["shape"]
    assert (shape.kinds, shape.allocate, shape.rates) == (("head", "channel"), "uniform", (0.0, 0.5))
    assert (call["seeds"], call["random_seeds"], call["images_per_class"], call["verify"]) == (1, 3, 0, False)


def test_the_kinds_of_the_recipe_and_all_rates_go_without_saying(
    asked: list[dict[str, Any]], run_dir: Path, secateur: Command
) -> None:
    done = secateur("curve", run_dir, "--out", run_dir / "elsewhere", "--json")
    assert json.loads(done.stdout) == json.loads(json.dumps(asdict(MEASURED)))
    (call,) = asked
    assert call["shape"].kinds == call["run"].recipe.plan.kinds
    assert call["shape"].rates == RATES
    assert call["folder"] == run_dir / "elsewhere"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--rates", "0,half"), "--rates got '0,half'"),
        (("--rates", "0,1"), "pruning rates"),
        (("--methods", "tailor"), "'tailor'"),
        (("--methods", "lrp:composite"), "key=value"),
        (("--kinds", "mlp"), "did you mean 'mlp_hidden'"),
        (("--allocate", "globall"), "did you mean 'global'"),
        (("--allocate", "sensitivity"), "'sensitivity', which measures the model"),
        (("--allocate", "xpruner"), "'xpruner', which trains masks"),
    ],
)
def test_what_cannot_be_is_refused_at_once(
    words: tuple[str, ...], says: str, asked: list[dict[str, Any]], run_dir: Path, secateur: Command
) -> None:
    with pytest.raises(PlanError, match=says):
        secateur("curve", run_dir, *words)
    assert not asked


@pytest.mark.parametrize("words", [("--seeds", "0"), ("--random-seeds", "0"), ("--images-per-class", "-1")])
def test_numbers_out_of_their_range_are_refused_at_once(
    words: tuple[str, ...], asked: list[dict[str, Any]], run_dir: Path, secateur: Command
) -> None:
    done = secateur("curve", run_dir, *words)
    assert done.exit_code == 2 and "is not in the range" in done.stderr
    assert not asked
