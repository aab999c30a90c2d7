"""Hostile words in every place of every command: one sentence or click's usage, exit code 2, nothing written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from secateur.pipeline.cli import COMMANDS, cli, main
from tests.later import mostly_nightly

LONG = "x" * 300
"""Longer than any file system's names."""
PATHS = ("", LONG, f"there/{LONG}/y", "file/inside", "\x1b]0;x\x07\x1b[2J", "a\nsecateur: done")
NUMBERS = ("", "-5", "--5", "nan", "inf", "-inf", "1e400", "9" * 20, "9" * 5000, "0x10", "1_0", "five", "\x1b[2J")
TEXTS = ("", LONG, "\x1b]0;x\x07\x1b[2J", "a\nsecateur: done", "../../etc/passwd", "[bold]x[/]", "-")
WHOLE_WORDS = ("init", "explain", "history", "compare", "sweep", "verify", "gate", "bench", "inspect", "run")
"""Commands of which arguments are tried, too; those of all others are the same run directories."""
ALONE = ("demo", "doctor", "completion", "recipes")
"""Commands that do their work with no argument: only what they refuse while they read their words is tried."""


def command_of(name: str) -> click.Command:
    found = cli.get_command(click.Context(cli), name)
    assert found is not None
    return found


def leaves(name: str, command: click.Command) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """A command, or those of a group, with the words that call it."""
    if isinstance(command, click.Group):
        for word in command.list_commands(click.Context(command)):
            inner = command.get_command(click.Context(command), word)
            assert inner is not None
            yield (name, word), inner
    else:
        yield (name,), command


def values_of(parameter: click.Parameter) -> tuple[str, ...]:
    if isinstance(parameter.type, click.Path):
        return PATHS
    if isinstance(parameter.type, click.types.IntParamType | click.types.FloatParamType):
        return NUMBERS
    return TEXTS


def cases() -> Iterator[tuple[str, ...]]:
    """Every option of every command with each hostile value, beside arguments that name nothing."""
    for name in COMMANDS:
        for words, command in leaves(name, command_of(name)):
            arguments = [one for one in command.params if isinstance(one, click.Argument)]
            absent = ["absent" for one in arguments if one.required]
            yield (*words, "--no-such-option")
            yield (*words, *absent, *["too", "many"] * 3, "--no-such-option=\x1b[2J")
            if name in ALONE:
                continue
            for option in command.params:
                if isinstance(option, click.Option) and not option.is_flag:
                    for value in values_of(option):
                        yield (*words, *absent, f"{option.opts[-1]}={value}")
            if name in WHOLE_WORDS:
                for value in PATHS:
                    yield (*words, *([value] * max(1, len(absent))))


def shown(words: tuple[str, ...]) -> str:
    short = (word if len(word) < 40 else f"{word[:20]}...{len(word)}" for word in words)
    return " ".join(short).encode("unicode_escape").decode()


ALL = {shown(words): words for words in cases()}


def test_there_are_as_many_as_were_once_found_and_more() -> None:
    assert len(ALL) > 4 * 119


@pytest.mark.parametrize("key", mostly_nightly(ALL, list(ALL)[::5]))
def test_hostile_words_end_in_a_sentence(
    key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(SystemExit) as ended:
        main(list(ALL[key]))
    said = capsys.readouterr()
    assert ended.value.code == 2, said
    assert said.out == ""
    assert "Traceback" not in said.err and "\x1b" not in said.err and "\nsecateur: done" not in said.err
    assert said.err.startswith("secateur: ") or (said.err.startswith("Usage: ") and "Error: " in said.err), said.err
    assert len(said.err) < 2000
    assert [(path.name, path.read_text()) for path in tmp_path.rglob("*")] == [("file", "mine")]
