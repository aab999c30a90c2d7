"""Every command: its help with an example, its errors as one sentence with exit code 2."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from secateur.core.errors import DeviceError
from secateur.pipeline import cli
from secateur.pipeline.cli import COMMANDS, recipes
from secateur.pipeline.cli.common import Named, Place


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str) -> None:
    result = CliRunner().invoke(cli.cli, [command, "--help"])
    assert result.exit_code == 0, result.output
    assert "Example: secateur" in " ".join(result.output.split())


def test_the_overview_names_every_command() -> None:
    output = CliRunner().invoke(cli.cli, ["--help"]).output
    assert all(f"\n  {command} " in output for command in COMMANDS)


def test_a_misspelt_command_is_a_usage_error_with_a_suggestion() -> None:
    done = subprocess.run([sys.executable, "-P", "-m", "secateur", "inspekt", "x"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "did you mean 'inspect'" in done.stderr


def test_an_error_is_one_sentence_and_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    def said(*words: str) -> str:
        with pytest.raises(SystemExit) as ended:
            cli.main(["inspect", "deit_tiny_patch16_225", *words])
        found = capsys.readouterr()
        assert (ended.value.code, found.out) == (2, "")
        return found.err

    assert "deit_tiny_patch16_224" in said()
    assert "Traceback" not in said()
    assert "Traceback" in said("--debug")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(28, "No space left on device"), "secateur: cannot read or write: No space left on device\n"),
        (DeviceError("orin: \x1b[2Jgone"), "secateur: orin: \\x1b[2Jgone\n"),
    ],
)
def test_what_fails_in_any_command_is_a_sentence_that_commands_no_terminal(
    error: Exception, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*words: object, **more: object) -> None:
        raise error

    monkeypatch.setattr(cli.cli, "main", fails)
    with pytest.raises(SystemExit) as ended:
        cli.main(["list"])
    assert (ended.value.code, capsys.readouterr().err) == (2, words)


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_takes_an_empty_word_for_the_present_folder(command: str) -> None:
    """Nor for any other file, folder or model that it is given."""
    found = cli.cli.get_command(click.Context(cli.cli), command)
    assert found is not None
    commands = [found, *(found.commands.values() if isinstance(found, click.Group) else ())]
    for one in commands:
        for param in one.params:
            assert not isinstance(param.type, click.Path) or isinstance(param.type, Place), param.name
            if isinstance(param.type, Place | Named):
                with pytest.raises(click.BadParameter, match="an empty word names nothing"):
                    param.type.convert("", param, None)


@pytest.mark.parametrize(
    ("words", "after"),
    [
        (["run", "recipe.yaml"], "goes on from here"),
        (["recover", "runs/half"], "goes on from here"),
        (["bench", "runs/half"], "starts anew"),
        (["bench", "runs/half", "--device", "orin"], "goes on from here"),
        (["gate", "runs/half", "--device=orin"], "goes on from here"),
        (["bundle", "runs/half"], "starts anew"),
    ],
)
def test_an_interrupted_command_says_what_it_does_when_it_is_given_again(
    words: list[str], after: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*words: object, **more: object) -> None:
        raise click.exceptions.Abort

    monkeypatch.setattr(cli.cli, "main", stopped)
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert (ended.value.code, capsys.readouterr().err) == (130, f"secateur: interrupted; the same command {after}\n")


@pytest.fixture
def quiet() -> Iterator[None]:
    """Secateur's notes as they were, afterwards."""
    logger = logging.getLogger("secateur")
    level, handlers = logger.level, [*logger.handlers]
    yield
    logger.setLevel(level)
    logger.handlers = handlers


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("word", ["-v", "--verbose"])
def test_notes_are_said_where_that_is_asked_for_at_any_place(
    place: int, word: str, quiet: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def noting(**words: object) -> None:
        logging.getLogger("secateur.pipeline.models").info("num_classes=3 is taken")

    monkeypatch.setattr(recipes.command, "callback", noting)
    words = ["recipes", "deit-tiny"]
    for given in (words, [*words[:place], word, *words[place:]]):
        with pytest.raises(SystemExit) as ended:
            cli.main(given)
        assert (ended.value.code, capsys.readouterr().err) == (0, "num_classes=3 is taken\n" if word in given else "")
