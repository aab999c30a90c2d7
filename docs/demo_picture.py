"""Draws the picture of the demo: what stayed of each layer, and what both models look at.

`python -P docs/demo_picture.py runs/demo` after `make demo` writes `docs/demo.png`. The bars come from the run's
groups.json and plan.json, the pictures from figures/evidence.png, the sentence from bench.json.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import click
from PIL import Image

from secateur.benchmarks.results_file import read_bench
from secateur.pipeline.report.evidence import GAP
from secateur.pipeline.report.network import KIND_TITLES, Bar, Network, network
from secateur.pipeline.report.table import rows_of
from secateur.pipeline.structure.describe import GroupTable
from secateur.pipeline.structure.plan import Plan

PICTURE = Path(__file__).parent / "demo.png"
DENSE, KEPT, TEXT = "#d9d6cf", "#2f6f4f", "#222222"
EXAMPLES = 3
COLOURS = 128
LINES = 2
COLUMNS = ("image", "dense model", "pruned model")


def bars_by_kind(found: Network) -> dict[str, list[tuple[str, Bar]]]:
    """The bars of each kind of unit, as (layer, bar), in the order of the layers."""
    bars: dict[str, list[tuple[str, Bar]]] = {}
    for layer in found.layers:
        for bar in layer.bars:
            bars.setdefault(KIND_TITLES[bar.kind], []).append((layer.name, bar))
    return bars


def examples_of(sheet: Image.Image, count: int) -> list[list[Image.Image]]:
    """The first rows of a sheet of evidence, each the image, the dense and the pruned model's map."""
    side = (sheet.width - 2 * GAP) // 3
    corners = [[(column * (side + GAP), row * (side + GAP)) for column in range(3)] for row in range(count)]
    return [[sheet.crop((x, y, x + side, y + side)) for x, y in row] for row in corners]


def draw(run: Path, out: Path) -> None:
    """Writes the picture of a run to `out`."""
    from matplotlib.figure import Figure

    found = network(GroupTable.load(run / "groups.json").groups, Plan.load(run / "plan.json").kept)
    bars, examples = bars_by_kind(found), examples_of(Image.open(run / "figures" / "evidence.png"), EXAMPLES)
    figure = Figure(figsize=(12.8, 5.6), dpi=100, facecolor="white")
    figure.text(0.02, 0.965, sentence(run), va="top", fontsize=13, color=TEXT, linespacing=1.4)
    left, right = figure.add_gridspec(1, 2, width_ratios=(1.5, 1), left=0.07, right=0.985, top=0.78, bottom=0.03)
    rows = left.subgridspec(2, 2, hspace=0.45, wspace=0.62)
    for place, (title, found_bars) in enumerate(bars.items()):
        draw_bars(figure.add_subplot(rows[place // 2, place % 2]), title, found_bars)
    cells = right.subgridspec(EXAMPLES, 3, hspace=0.04, wspace=0.04)
    for row, pictures in enumerate(examples):
        for column, picture in enumerate(pictures):
            axes = figure.add_subplot(cells[row, column])
            axes.imshow(picture)
            axes.set_axis_off()
            if row == 0:
                axes.set_title(COLUMNS[column], fontsize=11, color=TEXT)
    page = BytesIO()
    figure.savefig(page, format="png", metadata={"Software": None})
    Image.open(page).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(out, optimize=True)


def sentence(run: Path) -> str:
    """What became of the model, in lines; latencies, which belong to a machine, are left to the table."""
    rows = [row for row in rows_of(read_bench(run / "bench.json")) if not row.name.startswith("latency")]
    return "\n".join(f"{row.name}: {row.dense} dense, {row.pruned} pruned" for row in rows[:LINES])


def draw_bars(axes: Any, title: str, bars: list[tuple[str, Bar]]) -> None:
    """A bar for each layer: all its units, and over them those that stayed."""
    names = [layer for layer, _ in bars]
    axes.barh(names, [bar.units for _, bar in bars], color=DENSE, height=0.72)
    axes.barh(names, [bar.kept for _, bar in bars], color=KEPT, height=0.72)
    for place, (_, bar) in enumerate(bars):
        axes.annotate(
            f"{bar.kept} of {bar.units}", (1.02, place), xycoords=("axes fraction", "data"), va="center", fontsize=9
        )
    axes.set_title(title, fontsize=11, color=TEXT, loc="left")
    axes.set_xlim(0, max(bar.units for _, bar in bars))
    axes.invert_yaxis()
    axes.tick_params(length=0, labelbottom=False, labelsize=9)
    for spine in axes.spines.values():
        spine.set_visible(False)


@click.command()
@click.argument("run", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--out", type=click.Path(path_type=Path), default=PICTURE)
def main(run: Path, out: Path) -> None:
    """Draws the picture of the run of the demo in RUN."""
    draw(run, out)
    click.echo(f"{out}: {out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
