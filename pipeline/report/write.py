"""Writes a run's report: one self-contained HTML page, one Markdown summary, and the pictures of both."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment

from secateur.core.figures import save_figure
from secateur.core.files import read_json, write_json, write_text
from secateur.pipeline.analysis.fidelity import Fidelity
from secateur.pipeline.data.classes import spelt_out
from secateur.pipeline.report.class_map import class_map, class_wise, sole_units
from secateur.pipeline.report.evidence import evidence
from secateur.pipeline.report.figures import kept_units, latency
from secateur.pipeline.report.pages import HTML, MARKDOWN
from secateur.pipeline.report.table import compact, rows_of

NAMED = 6
"""How many units of a class are named."""
TITLES = {
    "kept_units": "What is left",
    "latency": "Latency",
    "classes": "Which heads serve which classes",
    "evidence": "The same evidence?",
}
CAPTIONS = {
    "kept_units": "Units kept in each layer (green) of those that the dense model has (grey).",
    "latency": "Distribution of the paired latency samples; dashed lines are the medians.",
    "classes": "How much more than to the mean class a head matters to a class (red); alike ones stand side by side.",
    "evidence": "What both models rest the answer for the image's class on: red speaks for it, blue against it.",
}


def write_report(
    folder: Path,
    found: Fidelity | None = None,
    classes: Sequence[str] = (),
    recipe: Mapping[str, Any] | None = None,
) -> list[str]:
    """Writes `report.html`, `report.md` and `figures/*.png`; returns their paths relative to the run directory.

    With the fidelity that was `found`, its numbers and examples are shown, and `fidelity.json` holds all of them.
    Where the scores are class-wise, the heads' and units' `classes` are shown.
    """
    bench = read_json(folder / "bench.json", "bench")
    groups = read_json(folder / "groups.json", "groups")
    plan = read_json(folder / "plan.json", "plan")
    recipe = recipe or yaml.safe_load((folder / "recipe.yaml").read_text(encoding="utf-8"))
    pictures = {"kept_units": kept_units(groups, plan["kept"]), "latency": latency(bench)}
    facts = _facts(bench, recipe, plan)
    scores = class_wise(folder / "scores.safetensors") if classes else {}
    names = spelt_out(classes)
    if (heads := class_map(groups["groups"], scores, names)) is not None:
        pictures["classes"] = heads
    if found is not None:
        pictures["evidence"] = evidence(found, names)
        agreement = f"cosine {found.mean_cosine:.2f}, rank {found.mean_rank:.2f} on {len(found.cosine)} images"
        facts.append(("agreement of maps", agreement))
        write_json(folder / "fidelity.json", "fidelity", fidelity_content(found))
    for name, figure in pictures.items():
        save_figure(figure, folder / "figures" / f"{name}.png")
    content = {
        "title": recipe["model"]["name"],
        "rows": rows_of(bench),
        "recipe": yaml.safe_dump(dict(recipe), sort_keys=False),
        "facts": facts,
        "layers": _layers(groups, plan["kept"]),
        "soles": _soles(groups, scores, names),
        "skipped": bench.get("skipped", {}),
        "environment": bench["environment"],
        "titles": TITLES,
        "captions": {name: CAPTIONS[name] for name in pictures},
        "images": {
            name: base64.b64encode((folder / "figures" / f"{name}.png").read_bytes()).decode() for name in pictures
        },
    }
    pages = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    write_text(folder / "report.html", pages.from_string(HTML).render(content))
    plain = Environment(autoescape=False, trim_blocks=True, lstrip_blocks=True)
    write_text(folder / "report.md", plain.from_string(MARKDOWN).render(content))
    written = ["report.html", "report.md", *(f"figures/{name}.png" for name in pictures)]
    return [*written, "fidelity.json"] if found is not None else written


def fidelity_content(found: Fidelity) -> dict[str, Any]:
    """What fidelity.json holds: the mean agreement, and that of every image."""
    means = {"mean_cosine": found.mean_cosine, "mean_rank": found.mean_rank}
    examples = [{"index": example.index, "explained": example.explained} for example in found.examples]
    return {**means, "cosine": found.cosine, "rank": found.rank, "examples": examples}


def _recovery(recover: dict[str, Any]) -> str:
    """How the rest was repaired, in words."""
    steps = []
    if recover["compensate"]:
        ridge = "chosen for each layer" if recover["ridge"] is None else f"{recover['ridge']:g}"
        steps.append(f"ridge compensation ({ridge}){', front to back' if recover.get('front_to_back') else ''}")
    lessons = recover.get("distill", {})
    if lessons.get("epochs"):
        epochs = f"{lessons['epochs']} epoch{'s' if lessons['epochs'] > 1 else ''}"
        steps.append(f"{epochs} of distillation, {lessons['labels']:.0%} of it on labels")
    return ", then ".join(steps) or "none"


def _facts(bench: dict[str, Any], recipe: Mapping[str, Any], plan: dict[str, Any]) -> list[tuple[str, str]]:
    """What was done, as pairs of a name and a phrase."""
    budget = {key: value for key, value in recipe["budget"].items() if value is not None}
    recover = recipe["recover"]
    classes = recipe.get("classes")
    planned = [("planned MACs", f"{compact(plan['notes']['macs'])} of {compact(plan['notes']['macs_dense'])}")]
    if plan["notes"].get("budget") == "latency":
        planned += [("planned latency", f"{plan['notes']['cost']:.3f} ms on {budget['target']}")]
    return [
        *([("classes", ", ".join(spelt_out(classes)))] if classes else []),
        ("budget", ", ".join(f"{key} {value}" for key, value in budget.items())),
        ("scores", recipe["score"]["method"]),
        ("allocation", f"{recipe['plan']['allocate']}, widths in multiples of {recipe['plan']['align']}"),
        ("recovery", _recovery(recover)),
        *planned,
        ("held-out images", str(bench.get("evaluation_images", "unknown"))),
    ]


def _layers(groups: dict[str, Any], kept: dict[str, list[int]]) -> list[tuple[str, str, int, int]]:
    """Name, kind, dense and kept units of every group that lost any."""
    return [(g["name"], g["kind"], g["units"], len(kept[g["name"]])) for g in groups["groups"] if g["name"] in kept]


def _soles(groups: dict[str, Any], scores: Mapping[str, Any], classes: Sequence[str]) -> list[tuple[str, int, str]]:
    """For each class how many units serve it alone, and the names of the first few."""
    found = sole_units(groups["groups"], scores)
    rows = []
    for number, name in enumerate(classes):
        units = [f"{group}[{unit}]" for group, unit, only in found if only == number]
        if units:
            rows.append((name, len(units), ", ".join(units[:NAMED]) + (", ..." if len(units) > NAMED else "")))
    return rows
