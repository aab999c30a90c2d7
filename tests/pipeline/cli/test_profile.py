"""`secateur profile`: a latency table in the run, and what it says on the screen."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from secateur.benchmarks.layers.layers_file import LayerProfile
from secateur.core.errors import RunError, SecateurError
from secateur.export.devices.device import Device, Remote
from secateur.export.devices.registry import add_device
from secateur.pipeline.plan import latency_profile
from secateur.pipeline.plan.latency_table import LatencyTable
from secateur.pipeline.runs import layers_run
from tests.benchmarks.layers.planted import profile, row
from tests.pipeline.cli.conftest import Command

QUICK = ("--target", "torch:cpu", "--seconds", 0.02)


def test_the_table_lies_in_the_run_and_is_shown(
    run_dir: Path, secateur: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
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
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    add_device(Device("orin", "host"))
    done = secateur("profile", run_dir, *QUICK, "--json", "--device", "orin")
    assert given["remote"] == Remote(Device("orin", "host"))
    assert given["keep"] == run_dir / "latency.part.json"
    assert json.loads(done.stdout)["dense_ms"] == 1e-9 == LatencyTable.load(run_dir / "latency.json").dense_ms
    assert done.stderr.startswith("note: the latency table of torch:cpu is too noisy to plan with")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--target", "torch:tpu"), "torch:tpu"),
        (("--target", "torch:cuda"), "torch:cuda cannot be timed here: there is no GPU for torch:cuda; name a"),
    ],
)
def test_a_target_that_cannot_be_measured_leaves_no_table(
    words: tuple[str, ...], says: str, run_dir: Path, secateur: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latency_profile, "why_not", lambda goal: f"there is no GPU for {goal}")
    with pytest.raises(SecateurError, match=says):
        secateur("profile", run_dir, *words)
    assert not (run_dir / "latency.json").exists()


@pytest.mark.parametrize(
    "words",
    [("--batch", 0), ("--batch", "one"), ("--seconds", 0), ("--seconds", -1), ("--layers", "--device", "orin")],
)
def test_numbers_out_of_their_range_are_usage_errors(
    words: tuple[object, ...], run_dir: Path, secateur: Command
) -> None:
    assert secateur("profile", run_dir, *words).exit_code == 2
    assert not (run_dir / "latency.json").exists()


def test_layers_are_shown_as_a_table_or_as_json(
    run_dir: Path, secateur: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def planted(folder: Path, target: str, batch: int, seconds: float, say: object) -> LayerProfile:
        found = replace(profile(row(reason="too small")), target=target, batch=batch)
        found.save(folder / "layers.json")
        return found

    monkeypatch.setattr(layers_run, "profile_run_layers", planted)
    words = ("profile", run_dir, "--layers", "--target", "torch:cpu", "--batch", 2, "--seconds", 0.5)
    shown = secateur(*words).stdout
    assert shown.startswith("torch:cpu, batch 2: 2.000 ms dense")
    assert "blocks.0.mlp.fc1: too small" in shown
    content = json.loads(secateur(*words, "--json").stdout)
    assert (content["schema"], content["rows"][0]["reason"]) == ("secateur.layers/1", "too small")
    assert not (run_dir / "latency.json").exists()


def test_layers_of_a_run_that_was_never_pruned(run_dir: Path, secateur: Command) -> None:
    with pytest.raises(RunError, match=r"is not up to date .*bring it up to date with `secateur recover"):
        secateur("profile", run_dir, "--layers")
    assert secateur("profile", run_dir, "--layers", "--seconds", 0).exit_code == 2
    assert secateur("profile", run_dir, "--layers", "--batch", 0).exit_code == 2
