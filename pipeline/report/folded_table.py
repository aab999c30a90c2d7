"""Tables of a report that are folded until somebody opens them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FoldedTable:
    """A table with its `title`, what is `said` above it, its `heads` and its rows; `numbers` are the columns of such.

    One that is `unfolded` is open from the start. Markdown has no folds, there `said` introduces the table; tables that
    are `only_html` are left out of it.
    """

    title: str
    said: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: frozenset[str] = frozenset()
    unfolded: bool = False
    only_html: bool = False

    @property
    def rule(self) -> str:
        """What Markdown has between the heads and the rows."""
        return "|" + "|".join("---:" if head in self.numbers else "---" for head in self.heads) + "|"
