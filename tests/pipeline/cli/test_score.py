"""`secateur score --search`: what goes to the search, and what goes with it only."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from secateur.core.errors import PlanError
from secateur.core.study import TrialRow
from secateur.pipeline.analysis.pruning_curve import RATES
from secateur.pipeline.runs import search_run
from tests.pipeline.cli.conftest import Command


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The options of each search, which finds one trial at once."""
    calls: list[dict[str, Any]] = []

    def searched(run: Any, trials: int, **options: Any) -> SimpleNamespace:
        calls.append({"folder": run.folder, "trials": trials, **options})
        return SimpleNamespace(a_pr=61.5, trials=(TrialRow(0, 61.5, True, {"first": "epsilon"}),))

    monkeypatch.setattr(search_run, "search_run", searched)
    return calls


def test_a_search_leaves_its_composite_in_the_run(
    asked: list[dict[str, Any]], run_dir: Path, secateur: Command
) -> None:
    done = secateur("score", run_dir, "--search", 5, "--kinds", "head,channel", "--rates", "0,0.5", "--study", "mine")
    assert done.stdout.strip() == str(run_dir / "search" / "composite.yaml")
    (call,) = asked
    assert (call["folder"], call["trials"], call["study"], call["storage"]) == (run_dir, 5, "mine", None)
    assert (call["kinds"], call["rates"], call["images_per_class"]) == (("head", "channel"), (0.0, 0.5), 0)


def test_json_has_the_trials(asked: list[dict[str, Any]], run_dir: Path, secateur: Command) -> None:
    content = json.loads(secateur("score", run_dir, "--search", 5, "--json").stdout)
    assert (content["a_pr"], len(content["trials"])) == (61.5, 1)
    assert (asked[0]["kinds"], asked[0]["rates"]) == (None, RATES)


@pytest.mark.parametrize(
    "words", [("--kinds", "head"), ("--search", 2, "--set", "seed=1"), ("--search", 0), ("--search", "many")]
)
def test_what_does_not_go_together_is_a_usage_error(
    words: tuple[object, ...], asked: list[dict[str, Any]], run_dir: Path, secateur: Command
) -> None:
    assert secateur("score", run_dir, *words).exit_code == 2
    assert not asked


def test_rates_are_numbers(asked: list[dict[str, Any]], run_dir: Path, secateur: Command) -> None:
    with pytest.raises(PlanError, match="--rates got '0,half'"):
        secateur("score", run_dir, "--search", 2, "--rates", "0,half")
    assert not asked
