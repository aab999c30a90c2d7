"""Rows of numbers come back from a file as they were, to five digits."""

from __future__ import annotations

from secateur_studies.error_rates.table import as_table, rows_of


def test_rows_come_back_from_their_table() -> None:
    rows = [{"load": "core", "seed": 3, "same low": 0.9871234}, {"seed": 4, "load": "none", "same low": 1.0}]
    found = rows_of(as_table(rows))
    assert found == [{"load": "core", "seed": 3, "same low": 0.98712}, {"seed": 4, "load": "none", "same low": 1.0}]
    assert as_table(found) == as_table(rows)
