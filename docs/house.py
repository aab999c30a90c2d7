"""Draws the rooms of secateur and which rooms they know into `docs/house.svg`: `python -P docs/house.py`.

The rooms are the layers of the import contract in pyproject.toml, their sentences those of CONTRIBUTING.md's table, and
the arrows come from the imports of the code. An arrow that follows from others is left out.
"""

from __future__ import annotations

import html
import re
import textwrap
import tomllib
from itertools import pairwise
from pathlib import Path

import grimp
import networkx

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "house.svg"
WIDTH, HEIGHT = 250, 62  # of a room
ACROSS, UP = 290, 112  # from room to room
MARGIN = 24
LANE = 60  # the width of an arrow that passes a floor
Point = tuple[float, float]


def rooms() -> list[str]:
    """The rooms of the import contract, the highest first."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers: list[str] = settings["contracts"][0]["layers"]
    return layers


def sentences() -> dict[str, str]:
    """For each room what it holds, from the table in CONTRIBUTING.md whose rows begin with the name of a room."""
    rows = re.findall(r"^\| `(secateur[\w.]*)` \|[^|]*\| (.+?) \|$", (ROOT / "CONTRIBUTING.md").read_text(), re.M)
    return dict(rows)


def arrows(names: list[str]) -> networkx.DiGraph:
    """From each room to those that it imports, without the arrows that follow from others."""
    imports = grimp.build_graph("secateur", "secateur_studies", cache_dir=None)
    graph = networkx.DiGraph()
    graph.add_nodes_from(names)
    for module in sorted(imports.modules):
        for other in sorted(imports.find_modules_directly_imported_by(module)):
            one, two = room_of(module, names), room_of(other, names)
            if one and two and one != two:
                graph.add_edge(one, two)
    return networkx.transitive_reduction(graph)


def room_of(module: str, names: list[str]) -> str:
    """The room that a module is in; empty for the facade, which only names what the rooms hold."""
    return max((name for name in names if f"{module}.".startswith(f"{name}.")), key=len, default="")


def floors(graph: networkx.DiGraph) -> list[list[str]]:
    """The rooms of each floor, the ground floor first: a room lies above all that it knows.

    An arrow that passes a floor has a place of its own there, called `from>to`.
    """
    level: dict[str, int] = {}
    for name in reversed(list(networkx.topological_sort(graph))):
        level[name] = max((level[other] + 1 for other in graph[name]), default=0)
    found: list[list[str]] = [[] for _ in range(max(level.values()) + 1)]
    for name, floor in level.items():
        found[floor].append(name)
    for one, two in graph.edges:
        for floor in range(level[two] + 1, level[one]):
            found[floor].append(f"{one}>{two}")
    return [sorted(floor) for floor in found]


def places(graph: networkx.DiGraph, stories: list[list[str]]) -> list[dict[str, Point]]:
    """For each floor the middle of its rooms and of the arrows that pass it, above the mean of what they lead to."""
    found: list[dict[str, Point]] = []
    for floor, names in enumerate(stories):
        wanted = {}
        for name in names:
            below = [at[0] for at in _below(graph, found, name)]
            wanted[name] = sum(below) / len(below) if below else 0.0
        order = sorted(names, key=lambda name: (wanted[name], name))
        widths = [LANE if ">" in name else ACROSS for name in order]
        left = -sum(widths) / 2
        where = {}
        for name, width in zip(order, widths, strict=True):
            where[name] = (left + width / 2, -float(UP * floor))
            left += width
        found.append(where)
    return found


def _below(graph: networkx.DiGraph, found: list[dict[str, Point]], name: str) -> list[Point]:
    """Where the arrows of a room, or the one that passes here, lead on the floor below."""
    if not found:
        return []
    one, _, two = name.partition(">")
    ends = [two] if two else list(graph[one])
    return [found[-1].get(f"{one}>{end}") or found[-1][end] for end in ends]


def draw(names: list[str], graph: networkx.DiGraph, texts: dict[str, str]) -> str:
    """The picture as SVG; the same bytes for the same rooms and arrows."""
    where = places(graph, floors(graph))
    middles = {name: point for floor in where for name, point in floor.items() if ">" not in name}
    left = min(x for x, _ in middles.values()) - WIDTH / 2 - MARGIN
    right = max(x for x, _ in middles.values()) + WIDTH / 2 + MARGIN
    top = min(y for _, y in middles.values()) - HEIGHT / 2 - MARGIN
    bottom = HEIGHT / 2 + MARGIN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{left:g} {top:g} {right - left:g} {bottom - top:g}" '
        'font-family="sans-serif" text-anchor="middle" role="img">',
        "<title>The rooms of secateur: an arrow leads to a room that is known</title>",
        '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 10 5 0 10z" fill="#4a6572"/></marker></defs>',
        f'<rect x="{left:g}" y="{top:g}" width="{right - left:g}" height="{bottom - top:g}" fill="#fff"/>',
    ]
    for one, two in sorted(graph.edges):
        passed = [floor[f"{one}>{two}"] for floor in reversed(where) if f"{one}>{two}" in floor]
        lines.append(_arrow([middles[one], *passed, middles[two]]))
    lines += [_room(name, texts.get(name, ""), middles[name]) for name in names]
    return "\n".join([*lines, "</svg>", ""])


def _arrow(points: list[Point]) -> str:
    """A smooth line from under one room to the top of another, straight down where it passes a floor."""
    path = f"M{points[0][0]:g} {points[0][1] + HEIGHT / 2:g}"
    for (x, y), (u, v) in pairwise(points):
        half, end = (y + v) / 2, v - HEIGHT / 2
        path += f" C{x:g} {half:g} {u:g} {half:g} {u:g} {end:g}"
        if (u, v) != points[-1]:
            path += f" V{v + HEIGHT / 2:g}"
    return f'<path d="{path}" fill="none" stroke="#4a6572" stroke-width="1.5" marker-end="url(#tip)"/>'


def _room(name: str, text: str, middle: Point) -> str:
    x, y = middle
    rows = textwrap.wrap(text.replace("`", ""), 42)
    words = [
        f'<text x="{x:g}" y="{y + 4 + 14 * row:g}" font-size="11" fill="#333">{html.escape(part)}</text>'
        for row, part in enumerate(rows[:2])
    ]
    return "\n".join(
        [
            f'<rect x="{x - WIDTH / 2:g}" y="{y - HEIGHT / 2:g}" width="{WIDTH}" height="{HEIGHT}" rx="6" '
            'fill="#eef3f5" stroke="#4a6572"/>',
            f'<text x="{x:g}" y="{y - 12:g}" font-size="13" font-weight="bold">{html.escape(name)}</text>',
            *words,
        ]
    )


def picture() -> str:
    """The picture of the house as it stands."""
    names = rooms()
    return draw(names, arrows(names), sentences())


if __name__ == "__main__":
    PICTURE.write_text(picture())
