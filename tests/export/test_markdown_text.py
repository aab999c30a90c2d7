"""Whatever a name holds, Markdown shows it as text on one line."""

from __future__ import annotations

import re
from html import unescape

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from secateur.export.markdown_text import DOLLAR, NOTHING, markdown_line
from secateur.export.runner.text import shown
from tests.hostile import HOSTILE

INERT = {NOTHING, "<span>", "</span>"}
PIECES = [
    "*",
    "_",
    "`",
    "~",
    "[",
    "]",
    "(",
    ")",
    "!",
    "<",
    ">",
    "#",
    "-",
    "1.",
    "|",
    "\\",
    "&",
    "@",
    ":",
    "/",
    "$",
    " ",
]


def text_of(rendered: str) -> str:
    """What is read of Markdown that is one paragraph of text; fails where it is more."""
    opened, inline, closed = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(rendered)
    assert (opened.type, inline.type, closed.type) == ("paragraph_open", "inline", "paragraph_close")
    parts = inline.children or []
    assert {part.type for part in parts} <= {"text", "html_inline", "text_special"}, rendered
    assert {part.content for part in parts if part.type == "html_inline"} <= INERT
    return "".join(part.content for part in parts if part.type != "html_inline")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_is_one_paragraph_of_text_and_a_cell(name: str) -> None:
    words = " ".join(shown(name, lines=False).split())
    assert text_of(markdown_line(name)) == words
    table = f"| a | b |\n|---|---|\n| {markdown_line(name)} | c |\n"
    cells = re.findall(r"<td>(.*?)</td>", MarkdownIt("commonmark").enable("table").render(table))
    assert [unescape(re.sub("<!-- -->|</?span>", "", cell)) for cell in cells] == [words, "c"]


@given(st.lists(st.sampled_from([*PIECES, "a", "URL", "x y"]), min_size=1, max_size=12).map("".join))
def test_so_is_any_text(text: str) -> None:
    if words := " ".join(text.split()):
        assert text_of(markdown_line(text)) == words


@pytest.mark.parametrize(
    ("text", "inert"),
    [
        ("a|b", r"a\|b"),
        ("mlp_hidden[2] 1.60x [1.50, 1.70]", "mlp_hidden[2] 1.60x [1.50, 1.70]"),
        ("-0.50 points", "-0.50 points"),
        ("onnxruntime:cpu@fp16, batch 1", "onnxruntime:cpu@fp16, batch 1"),
        ("@octocat #12 GH-12", f"@{NOTHING}octocat #{NOTHING}12 GH-{NOTHING}12"),
        ("http://a.example www.a.example", f"http:{NOTHING}//a.example www{NOTHING}.a.example"),
        ("me@a.example", f"me@{NOTHING}a.example"),
        ("$x$", f"{DOLLAR}x{DOLLAR}"),
    ],
)
def test_plain_names_stay_readable_and_what_github_reads_is_taken_apart(text: str, inert: str) -> None:
    assert markdown_line(text) == inert
