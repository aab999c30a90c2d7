"""How the processes of a collection are kept: a line of numbers each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

BLOCKS = {"0.5 ms": 60, "5 ms": 12, "50 ms": 5}
"""Twice in each every side is timed."""


def as_table(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Rows of the same columns as one line of numbers each: thousands of them fit into a file."""
    columns = list(rows[0]) if rows else []
    lines = [
        " ".join(f"{row[name]:.5g}" if isinstance(row[name], float) else str(row[name]) for name in columns)
        for row in rows
    ]
    return {"columns": columns, "rows": lines}


def rows_of(table: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of a table."""
    rows = [dict(zip(table["columns"], line.split(" "), strict=True)) for line in table["rows"]]
    return [{name: value if name == "load" else float(value) for name, value in row.items()} for row in rows]
