"""Every command: its help with an example, its errors as one sentence with exit code 2."""

from __future__ import annotations

import subprocess
import sys

import pytest
from click.testing import CliRunner

from secateur.pipeline import cli
from secateur.pipeline.cli import COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str) -> None:
    result = CliRunner().invoke(cli.cli, [command, "--help"])
    assert result.exit_code == 0, result.output
    assert "Example: secateur" in " ".join(result.output.split())


def test_the_overview_names_every_command() -> None:
    output = CliRunner().invoke(cli.cli, ["--help"]).output
    assert all(f"\n  {command} " in output for command in COMMANDS)


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-P", "-m", "secateur", *words], capture_output=True, text=True)


def test_a_misspelt_command_is_a_usage_error_with_a_suggestion() -> None:
    done = run("inspekt", "x")
    assert done.returncode == 2
    assert "did you mean 'inspect'" in done.stderr


def test_an_error_is_one_sentence_and_debug_shows_the_traceback() -> None:
    done = run("inspect", "deit_tiny_patch16_225")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "deit_tiny_patch16_224" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Traceback" in run("inspect", "deit_tiny_patch16_225", "--debug").stderr
