"""What commands share: progress that only a terminal sees, and what a run left out."""

from __future__ import annotations

import io
from pathlib import Path

import click
import pytest
from rich.console import Console

from secateur.pipeline.cli import common
from tests.export.test_artefacts import BUILT


def progress_on(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> str:
    """What progress writes to a stderr that is a terminal, or is none."""
    said = io.StringIO()
    monkeypatch.setattr(
        common, "Console", lambda stderr: Console(file=said, force_terminal=terminal, width=80, color_system=None)
    )
    with common.Progress() as progress:
        progress("plan", "weighing")
        progress("plan", "done in 0.1 s")
        progress("prune", "up to date")
        progress("bench", "done: [/red] \x1b[2J\rof a device")
        progress("bench", "[/red] \x1b[2J")
    return said.getvalue()


def test_a_terminal_sees_a_line_for_each_finished_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    said = progress_on(monkeypatch, terminal=True)
    assert "✓ plan     done in 0.1 s" in said
    assert "✓ prune    up to date" in said
    assert "✓ bench    done: [/red] \\x1b[2J\\rof a device" in said and "\x1b[2J" not in said


def test_anything_else_sees_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert progress_on(monkeypatch, terminal=False) == ""


def test_what_is_left_out_goes_to_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    BUILT.save(tmp_path)
    common.say_left_out(tmp_path, "plan", "build")
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "not built: tensorrt@fp16: a reason\n")


def test_json_is_printed_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    common.print_json({"a": [1]})
    assert capsys.readouterr().out == '{\n "a": [\n  1\n ]\n}\n'


def test_no_line_commands_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    common.echo("it says \x1b[31mred")
    assert capsys.readouterr().out == "it says \\x1b[31mred\n"


@pytest.mark.parametrize("word", ["nan", "inf", "0", "-1", "1e9", "soon"])
def test_seconds_are_a_number_with_an_end(word: str) -> None:
    assert common.SECONDS.convert("0.5", None, None) == 0.5
    with pytest.raises(click.BadParameter):
        common.SECONDS.convert(word, None, None)
