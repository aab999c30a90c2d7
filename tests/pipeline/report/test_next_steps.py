"""What to run next follows from what was found, and every command is one that the command line takes."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from secateur.benchmarks.bootstrap import Interval
from secateur.pipeline.cli import cli
from secateur.pipeline.report.findings import Findings
from secateur.pipeline.report.next_steps import next_steps
from tests.export.test_artefacts import EXPORTED
from tests.pipeline.report.findings import CPU, findings, swept
from tests.pipeline.report.test_layer_times import PROFILE

FOLDER = Path("runs/of 'mine' $(x)")


def first_words(found: Findings) -> list[str]:
    return [shlex.split(step.command)[1] for step in next_steps(found)]


def cases() -> dict[str, Findings]:
    found = replace(findings(), folder=FOLDER)
    bench, lost = found.bench, replace(found.bench.pruned, top1=20.0)
    unsure = replace(bench, speedup={CPU: Interval(1.0, 0.97, 1.06)}, skipped={})
    return {
        "fast": replace(found, graphs=EXPORTED.files, bench=replace(bench, skipped={})),
        "unsure": replace(found, bench=unsure),
        "unmeasured": replace(found, bench=replace(bench, speedup={})),
        "worse": replace(found, bench=replace(bench, pruned=lost, evaluation_images=1000), sweep=swept()),
    }


def test_a_fast_run_goes_into_a_gate_and_onto_a_device() -> None:
    assert first_words(cases()["fast"]) == ["sweep", "gate", "bundle"]
    gate = shlex.split(next_steps(cases()["fast"])[1].command)
    assert gate == ["secateur", "gate", f"{FOLDER}/bench.json", "--min-speedup", "1.5"]  # below the whole interval


def test_what_is_not_shown_is_measured_for_longer_and_never_gated() -> None:
    assert first_words(cases()["unsure"]) == ["report", "profile", "sweep"]
    assert first_words(replace(cases()["unsure"], layers=PROFILE)) == ["report", "sweep"]
    assert next_steps(cases()["unsure"])[0].command.endswith("--set bench.seconds=40")


def test_what_was_not_measured_is_measured_and_what_was_left_out_is_looked_into() -> None:
    assert first_words(cases()["unmeasured"]) == ["bench", "sweep", "doctor"]


def test_a_loss_is_answered_by_distillation() -> None:
    steps = next_steps(cases()["worse"])
    assert steps[0].command.endswith("--set recover.distill.epochs=10")
    assert "sweep" in first_words(cases()["worse"])


@pytest.mark.parametrize("case", cases())
def test_the_command_line_takes_every_command(case: str) -> None:
    for step in next_steps(cases()[case]):
        program, name, *words = shlex.split(step.command)
        command = cli.get_command(cli.make_context("secateur", [name], resilient_parsing=True), name)
        assert (program, command is not None) == ("secateur", True)
        assert command is not None
        command.make_context(name, list(words))  # raises UsageError for an option that there is not
        if name != "doctor":
            assert any(str(FOLDER) in word for word in words)
