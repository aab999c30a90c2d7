"""Text from outside, such as names of classes and of files, made inert for a page and for Markdown."""

from __future__ import annotations

import re
from typing import Any

from markupsafe import Markup

from secateur.export.runner.text import shown

MARKS = re.compile(r"[\\`|]|(?<=\])\(|(?<=!)\[")
"""What makes a table's border, code, a link or a picture in Markdown."""


def for_html(value: Any) -> Any:
    """A value of a template before it is escaped: without characters that would turn the text around or hide in it."""
    return shown(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def for_markdown(value: Any) -> Any:
    r"""A value of a template as one line of Markdown that is shown as it is.

    >>> print(for_markdown("a|b <i> [x](y)"))
    a\|b &lt;i&gt; [x]\(y)
    """
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    text = shown(value, lines=False).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return MARKS.sub(r"\\\g<0>", text)
