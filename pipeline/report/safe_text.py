"""Text from outside, such as names of classes and of files, made inert for a page and for Markdown."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from secateur.export.markdown_text import markdown_line
from secateur.export.runner.text import shown


def for_html(value: Any) -> Any:
    """A value of a template before it is escaped: without characters that would turn the text around or hide in it."""
    return shown(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def for_markdown(value: Any) -> Any:
    """A value of a template as one line of Markdown that is shown as it is."""
    return markdown_line(value) if isinstance(value, str) and not isinstance(value, Markup) else value
