"""Text from outside is inert in a page and in Markdown."""

from __future__ import annotations

import pytest
from markupsafe import Markup

from secateur.pipeline.report.safe_text import for_html, for_markdown


@pytest.mark.parametrize(
    ("text", "inert"),
    [
        ("a|b", r"a\|b"),
        ("<script>x</script>", "&lt;script&gt;x&lt;/script&gt;"),
        ("![x](http://e/x.png)", r"!\[x]\(http://e/x.png)"),
        ("[x](javascript:x)", r"[x]\(javascript:x)"),
        ("`rm`", r"\`rm\`"),
        ("two\nlines", r"two\\nlines"),
        ("mlp_hidden[2] 1.60x [1.50, 1.70]", "mlp_hidden[2] 1.60x [1.50, 1.70]"),
        ("a & b", "a &amp; b"),
    ],
)
def test_markdown_shows_the_text_as_it_is(text: str, inert: str) -> None:
    assert for_markdown(text) == inert


def test_what_turns_text_around_is_written_out_in_both() -> None:
    assert for_html("a\u202eb\x00") == "a\\u202eb\\x00"
    assert for_markdown("a\u202eb") == r"a\\u202eb"


@pytest.mark.parametrize("value", [3, None, Markup("<b>"), 1.5])
def test_numbers_and_what_is_marked_safe_pass(value: object) -> None:
    assert for_html(value) is value
    assert for_markdown(value) is value
