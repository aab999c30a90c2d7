"""`secateur completion`: a shell's script, and what that script asks of secateur."""

from __future__ import annotations

import pytest
from click.shell_completion import ShellComplete

from secateur.pipeline.cli import COMMANDS, cli
from secateur.pipeline.cli.completion import SHELLS
from tests.pipeline.cli.conftest import Command


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_of_the_shell_and_calls_secateur(shell: str, secateur: Command) -> None:
    said = secateur("completion", shell)
    assert said.exit_code == 0
    assert "_SECATEUR_COMPLETE=" + shell + "_complete" in said.stdout


def test_another_shell_is_a_usage_error(secateur: Command) -> None:
    assert secateur("completion", "csh").exit_code == 2


def test_commands_and_options_are_completed() -> None:
    complete = ShellComplete(cli, {}, "secateur", "_SECATEUR_COMPLETE")
    assert [item.value for item in complete.get_completions([], "")] == list(COMMANDS)
    assert "--budget" in [item.value for item in complete.get_completions(["run"], "--b")]
