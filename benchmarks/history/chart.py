"""The lines of a history as a picture: an SVG, or one self-contained HTML page with the numbers below."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from secateur.benchmarks.figure_text import figure_text
from secateur.benchmarks.history.change_points import Change
from secateur.benchmarks.history.lines import Line
from secateur.core.errors import BenchError
from secateur.core.files import write_text
from secateur.export.runner.text import shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLOCKS = "▁▂▃▄▅▆▇█"
TITLE = 120
"""At most so many letters of a line's title."""
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>History of {{ names }}</title>
<style>
:root { color-scheme: light dark }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem }
figure { background: #fff; margin: 0; overflow-x: auto }
svg { height: auto; width: 100% }
div { overflow-x: auto }
table { border-collapse: collapse; width: 100% }
h1, td { overflow-wrap: anywhere }
td, th { border-bottom: 1px solid #8886; padding: .3rem .5rem; text-align: left; vertical-align: top }
</style>
</head>
<body>
<h1>History of {{ names }}</h1>
<figure>{{ picture | safe }}</figure>
<div><table>
<thead><tr><th>line</th><th>values</th><th>first</th><th>last</th><th>change points</th></tr></thead>
<tbody>
{% for row in rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</tbody>
</table></div>
</body>
</html>
"""


def write_chart(path: Path, lines: Sequence[Line], found: Mapping[int, Sequence[Change]]) -> None:
    """Writes all lines, with the changes `found` by the line's place, as `path` says: .svg or .html.

    Raises `BenchError` for another ending.
    """
    if path.suffix not in (".svg", ".html"):
        raise BenchError(f"got the file {path.name}: a history is drawn as .svg or .html")
    picture = _svg(lines, found)
    if path.suffix == ".html":
        from jinja2 import Environment

        names = ", ".join(dict.fromkeys(line.name for line in lines))
        page = Environment(autoescape=True, finalize=_inert).from_string(PAGE)
        rows = [[line.title, *row(line, found[place])] for place, line in enumerate(lines)]
        picture = page.render(names=names, picture=picture[picture.index("<svg") :], rows=rows)
    write_text(path, picture)


def _inert(value: object) -> object:
    """A value of the page without characters that would turn text around; what is marked safe is the picture."""
    return shown(value) if type(value) is str else value


def row(line: Line, changes: Sequence[Change]) -> tuple[str, str, str, str]:
    """The cells of a line in a table: how many values, the first one, the last one, and the changes."""
    first, last = line.values[0], line.values[-1]
    begin, end = (f"{one.value:,.6g} {one.unit}".strip() for one in (first, last))
    return str(len(line.values)), begin, end, "; ".join(map(str, changes)) or "none"


def sparkline(values: Sequence[float], width: int = 20) -> str:
    """The last values as one character each, the lowest one the smallest."""
    shown = values[-width:]
    low, high = min(shown), max(shown)
    steps = (len(BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(BLOCKS[round((value - low) * steps)] for value in shown)


def _svg(lines: Sequence[Line], found: Mapping[int, Sequence[Change]]) -> str:
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.hashsalt": "secateur", "svg.fonttype": "none", "font.size": 8}):
        figure = Figure(figsize=(8, 1.9 * len(lines)), layout="constrained")
        for place, line in enumerate(lines):
            _panel(figure.add_subplot(len(lines), 1, place + 1), line, found[place])
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    return drawn.getvalue()


def _panel(axes: Axes, line: Line, changes: Sequence[Change]) -> None:
    places = range(len(line.values))
    values = [one.value for one in line.values]
    axes.plot(places, values, marker="o", markersize=3, linewidth=1)
    low = [one.value if one.low is None else one.low for one in line.values]
    high = [one.value if one.high is None else one.high for one in line.values]
    axes.fill_between(places, low, high, alpha=0.2)
    for change in changes:
        colour = "tab:green" if change.better else "tab:red"
        axes.axvline(change.place - 0.5, color=colour, linestyle="--", linewidth=1)
        axes.text(change.place - 0.45, 0.06, f"{change.share:+.1%}", color=colour, transform=axes.get_xaxis_transform())
    step = max(1, len(values) // 12)
    axes.set_xticks(places[::step], [figure_text(commit[:7]) for commit in line.commits[::step]])
    axes.set_title(figure_text(line.title, TITLE), loc="left")
    axes.set_ylabel(figure_text(line.values[0].unit))
