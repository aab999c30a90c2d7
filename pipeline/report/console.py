"""The console of tables and progress: what it is given is shown as text, whatever is in it."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from secateur.export.runner.text import shown


class InertConsole(Console):
    """A console that reads no markup, no emoji codes and no control characters in the texts that it is given.

    Names come from the files and models of others: `[red]` in one is no colour, an escape sequence is spelt out, and a
    line feed begins no line that could pass for one of ours. What is to have a style is a `rich.text.Text`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """The text as rich shows it; all strings come by here, cells and titles of tables too."""
        return super().render_str(shown(text, lines=False), **options)
