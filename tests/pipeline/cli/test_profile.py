"""`secateur profile`: a latency table in the run, and what it says on the screen."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from secateur.core.errors import SecateurError
from secateur.pipeline.plan import latency_profile
from secateur.pipeline.plan.latency_table import LatencyTable
from tests.pipeline.cli.conftest import Command

QUICK = ("--target", "torch:cpu", "--seconds", 0.02)


def test_the_table_lies_in_the_run_and_is_shown(
    run_dir: Path, secateur: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = secateur("profile", run_dir, *QUICK, "--batch", 2)
    table = LatencyTable.load(run_dir / "latency.json")
    assert (table.target, table.batch) == ("torch:cpu", 2)
    lines = done.stdout.splitlines()
    assert lines[0] == f"torch:cpu, batch 2: dense {table.dense_ms:.3f} ms"
    shown = [(curve.family, share) for curve in table.curves for share in curve.shares if share < 1]
    assert [line.rpartition(": ")[0] for line in lines[1:]] == [f"{family} at {share:.0%}" for family, share in shown]
    assert all("saved a group [" in line for line in lines[1:])
    noisy = replace(table, dense_ms=1e-9)  # which is less than anything saves
    given: dict[str, object] = {}
    monkeypatch.setattr(latency_profile, "profile", lambda *_, **more: given.update(more) or noisy)
    done = secateur("profile", run_dir, *QUICK, "--json")
    assert given["keep"] == run_dir / "latency.part.json"
    assert json.loads(done.stdout)["dense_ms"] == 1e-9 == LatencyTable.load(run_dir / "latency.json").dense_ms
    assert done.stderr.startswith("note: the latency table of torch:cpu is too noisy to plan with")


@pytest.mark.parametrize(
    ("words", "says"),
    [(("--target", "torch:tpu"), "torch:tpu"), (("--target", "tensorrt_rtx:sm_86"), "sm_86|tensorrt")],
)
def test_a_target_that_cannot_be_measured_leaves_no_table(
    words: tuple[str, ...], says: str, run_dir: Path, secateur: Command
) -> None:
    with pytest.raises(SecateurError, match=says):
        secateur("profile", run_dir, *words)
    assert not (run_dir / "latency.json").exists()


@pytest.mark.parametrize("words", [("--batch", 0), ("--batch", "one"), ("--seconds", 0), ("--seconds", -1)])
def test_numbers_out_of_their_range_are_usage_errors(
    words: tuple[object, ...], run_dir: Path, secateur: Command
) -> None:
    assert secateur("profile", run_dir, *words).exit_code == 2
    assert not (run_dir / "latency.json").exists()
