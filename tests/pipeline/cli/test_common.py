"""What commands share: options, what a run left out, and JSON."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from secateur.pipeline.cli import common
from tests.export.test_artefacts import BUILT


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
