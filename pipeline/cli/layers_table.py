"""The layers of a run as a table of 80 columns, and the sentences about them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.table import Table

from secateur.pipeline.report.console import InertConsole

if TYPE_CHECKING:
    from secateur.benchmarks.layers.layers_file import LayerProfile, LayerRow

WIDTH, NAME = 80, 19


def print_layers(found: LayerProfile) -> None:
    """Prints a line for each layer, then what explains them, the roofline and the notes."""
    console = InertConsole(width=WIDTH)
    console.print(
        f"{found.target}, batch {found.batch}: {found.ms_dense:.3f} ms dense, {found.ms_pruned:.3f} ms pruned, "
        f"{found.ratio:.2f} [{found.low:.2f}, {found.high:.2f}] times as fast"
    )
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("layer (times in ms)", no_wrap=True)
    for column in ("MMACs", "kept", "MACs/B", "share", "dense", "pruned", "ratio [95 %]"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in found.rows:
        table.add_row(*_cells(found, row))
    console.print(table)
    for sentence in sentences(found):
        console.print(sentence, soft_wrap=True)


def sentences(found: LayerProfile) -> Iterator[str]:
    """What explains layers by their names, the roofline, and the notes."""
    for row in found.rows:
        if row.reason:
            yield f"{row.name}: {row.reason}"
    roof = found.roofline
    yield (
        f"roofline: {roof.macs_per_s / 1e9:.3g} GMACs/s, {roof.bytes_per_s / 1e9:.3g} GB/s, ridge at {roof.ridge:.3g} "
        f"MACs/B ({roof.source})"
    )
    for note in found.notes:
        yield f"note: {note}"


def _cells(found: LayerProfile, row: LayerRow) -> tuple[str, ...]:
    """A layer's cells: its dense MACs, the share kept, MACs per byte and share of the time of the pruned one."""
    kept = f"{row.macs_pruned / row.macs_dense:.0%}" if row.macs_dense else ""
    bounds = (row.ratio, row.low, row.high)
    ratio, low, high = ("" if one is None else f"{one:.{2 if one < 10 else 0}f}" for one in bounds)
    intensity = row.intensity_pruned if row.macs_pruned else None
    return (
        _short(row.name),
        _number(row.macs_dense / 1e6, 3) if row.macs_dense else "",
        kept,
        "" if intensity is None else _number(intensity, 2),
        f"{found.share_pruned(row):.1%}",
        _number(row.ms_dense, 3),
        _number(row.ms_pruned, 3),
        f"{ratio} [{low}, {high}]" if ratio else "",
    )


def _number(value: float, digits: int) -> str:
    """So many significant digits, and all of those before the point: seven characters at most, up to a million."""
    if value >= 100 or not value:
        return f"{value:,.0f}"
    return f"{value:.{digits}g}" if value >= 1e-3 else f"{value:.{digits - 2}e}"


def _short(name: str) -> str:
    """A name without its beginning where it is too long: the end tells layers apart."""
    return name if len(name) <= NAME else f"…{name[1 - NAME :]}"
