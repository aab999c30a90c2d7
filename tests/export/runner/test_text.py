"""Text of strangers on a terminal."""

from __future__ import annotations

import io

import pytest

from secateur.export.runner.text import first_line, show, shown


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("Größe, 猫 🐈", "Größe, 猫 🐈"),
        ("\x1b[31mred\x07\x9b2J", "\\x1b[31mred\\x07\\x9b2J"),
        ("one\rtwo\x7f", "one\\rtwo\\x7f"),
        ("\u202eturned\ud800", "\\u202eturned\\ud800"),
        ("a\tb\nc", "a\tb\nc"),
    ],
)
def test_what_a_terminal_takes_as_a_command_is_spelt_out(text: str, seen: str) -> None:
    assert shown(text) == seen


def test_one_line_stays_one() -> None:
    assert shown("a\nb", lines=False) == "a\\nb"


def test_a_stream_without_the_characters() -> None:
    file = io.BytesIO()
    stream = io.TextIOWrapper(file, "ascii")
    show("猫\x1b", stream)
    assert file.getvalue() == b"\\u732b\\x1b\n"


def test_the_first_line_of_an_error() -> None:
    assert first_line(ValueError("one.\ntwo")) == "one"
    assert first_line(ValueError()) == "ValueError"
