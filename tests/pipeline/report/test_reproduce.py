"""Commands that make a run again are quoted for a shell."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

from secateur.pipeline.report.reproduce import commands_of
from tests.pipeline.report.findings import findings


def test_the_run_the_measurement_and_the_commit_are_named() -> None:
    found = replace(findings(), folder=Path("runs/a b"))
    environment = replace(found.bench.environment, git_commit="abc-dirty")
    bench = replace(found.bench, command="secateur run x.yaml", environment=environment)
    commands = [command for _, command in commands_of(replace(found, bench=bench))]
    assert shlex.split(commands[0]) == ["secateur", "run", "runs/a b/recipe.yaml", "--out", "runs/a b-again"]
    assert commands[1:] == ["secateur run x.yaml", "git checkout abc"]


def test_what_is_not_known_is_not_named() -> None:
    found = findings()
    bench = replace(found.bench, command="", environment=replace(found.bench.environment, git_commit=None))
    assert len(commands_of(replace(found, bench=bench))) == 1
