"""Writes a run's report: one self-contained HTML page, one Markdown summary, and the pictures of both."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment

from secateur.pipeline.files import read_json, write_text
from secateur.pipeline.report.figures import kept_units, latency, save_figure
from secateur.pipeline.report.pages import HTML, MARKDOWN
from secateur.pipeline.report.table import compact, rows_of

CAPTIONS = {
    "kept_units": "Units kept in each layer (green) of those that the dense model has (grey).",
    "latency": "Distribution of the paired latency samples; dashed lines are the medians.",
}


def write_report(folder: Path) -> list[str]:
    """Writes `report.html`, `report.md` and `figures/*.png`; returns their paths relative to the run directory."""
    bench = read_json(folder / "bench.json", "bench")
    groups = read_json(folder / "groups.json", "groups")
    plan = read_json(folder / "plan.json", "plan")
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text(encoding="utf-8"))
    pictures = {"kept_units": kept_units(groups, plan["kept"]), "latency": latency(bench)}
    for name, figure in pictures.items():
        save_figure(figure, folder / "figures" / f"{name}.png")
    content = {
        "title": recipe["model"]["name"],
        "rows": rows_of(bench),
        "recipe": yaml.safe_dump(recipe, sort_keys=False),
        "facts": _facts(bench, recipe, plan),
        "layers": _layers(groups, plan["kept"]),
        "skipped": bench.get("skipped", {}),
        "environment": bench["environment"],
        "captions": CAPTIONS,
        "images": {
            name: base64.b64encode((folder / "figures" / f"{name}.png").read_bytes()).decode() for name in pictures
        },
    }
    pages = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    write_text(folder / "report.html", pages.from_string(HTML).render(content))
    plain = Environment(autoescape=False, trim_blocks=True, lstrip_blocks=True)
    write_text(folder / "report.md", plain.from_string(MARKDOWN).render(content))
    return ["report.html", "report.md", *(f"figures/{name}.png" for name in pictures)]


def _facts(bench: dict[str, Any], recipe: dict[str, Any], plan: dict[str, Any]) -> list[tuple[str, str]]:
    """What was done, as pairs of a name and a phrase."""
    budget = {key: value for key, value in recipe["budget"].items() if value is not None}
    recover = recipe["recover"]
    return [
        ("budget", ", ".join(f"{key} {value}" for key, value in budget.items())),
        ("scores", recipe["score"]["method"]),
        ("allocation", f"{recipe['plan']['allocate']}, widths in multiples of {recipe['plan']['align']}"),
        ("recovery", f"ridge compensation, {recover['ridge']:g}" if recover["compensate"] else "none"),
        ("planned MACs", f"{compact(plan['notes']['macs'])} of {compact(plan['notes']['macs_dense'])}"),
        ("held-out images", str(bench.get("evaluation_images", "unknown"))),
    ]


def _layers(groups: dict[str, Any], kept: dict[str, list[int]]) -> list[tuple[str, str, int, int]]:
    """Name, kind, dense and kept units of every group that lost any."""
    return [(g["name"], g["kind"], g["units"], len(kept[g["name"]])) for g in groups["groups"] if g["name"] in kept]
