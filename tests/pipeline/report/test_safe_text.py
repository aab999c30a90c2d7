"""Text from outside is inert in a page and in Markdown."""

from __future__ import annotations

import pytest
from markupsafe import Markup

from secateur.pipeline.report.safe_text import for_html, for_markdown


def test_markdown_shows_the_text_as_it_is() -> None:
    assert for_markdown("a|b <i> *x*") == r"a\|b &lt;i&gt; \*x\*"


def test_what_turns_text_around_is_written_out_in_both() -> None:
    assert for_html("a\u202eb\x00") == "a\\u202eb\\x00"
    assert for_markdown("a\u202eb") == r"a\\u202eb"


@pytest.mark.parametrize("value", [3, None, Markup("<b>"), 1.5])
def test_numbers_and_what_is_marked_safe_pass(value: object) -> None:
    assert for_html(value) is value
    assert for_markdown(value) is value
