"""Folded tables: numbers are set to the right in Markdown."""

from __future__ import annotations

from secateur.pipeline.report.folded_table import FoldedTable


def test_numbers_are_set_to_the_right() -> None:
    table = FoldedTable("a title", "a sentence", ("name", "MB"), (("a", "1"),), frozenset({"MB"}))
    assert table.rule == "|---|---:|"
