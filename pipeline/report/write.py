"""Writes a run's report: one self-contained HTML page, one Markdown summary, and the pictures of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from secateur.core.figures import save_figure
from secateur.core.files import atomic_path, write_text
from secateur.pipeline.analysis.fidelity_file import FidelityFile
from secateur.pipeline.data.classes import spelt_out
from secateur.pipeline.report.class_map import ByClass, class_map, class_wise, sole_units
from secateur.pipeline.report.class_table import class_table
from secateur.pipeline.report.energy_table import conditions_of, energy_table
from secateur.pipeline.report.evidence import Panels, panels_of, sheet
from secateur.pipeline.report.facts import budget_row, facts_of
from secateur.pipeline.report.findings import Findings
from secateur.pipeline.report.folded_table import FoldedTable
from secateur.pipeline.report.front import fronts_of_run
from secateur.pipeline.report.graph_tables import engine_table, kept_table, parity_table
from secateur.pipeline.report.latency_chart import latency_charts
from secateur.pipeline.report.layer_times import layer_times
from secateur.pipeline.report.mixed_table import mixed_tables
from secateur.pipeline.report.model_title import model_title
from secateur.pipeline.report.network import KIND_TITLES, network
from secateur.pipeline.report.next_steps import next_steps
from secateur.pipeline.report.notes import guesses, left_out, loading_notes, notes_of
from secateur.pipeline.report.page import html, markdown
from secateur.pipeline.report.precision_strip import layer_tables, precision_strips
from secateur.pipeline.report.reproduce import commands_of
from secateur.pipeline.report.score_curves import score_curves
from secateur.pipeline.report.table import rows_of
from secateur.pipeline.report.verdict import verdict_of
from secateur.pipeline.structure.describe import GroupTable

NAMED = 6
"""How many units of a class are named."""


def write_report(folder: Path, found: Findings) -> list[str]:
    """Writes `report.html`, `report.md` and their `figures`; returns their paths relative to `folder`.

    With maps, their agreement and examples are shown, and `fidelity.json` holds all of them. Where the scores are
    class-wise, the heads' and units' classes are shown.
    """
    names = spelt_out(found.classes)
    panels = [panels_of(example, names) for example in found.maps.found.examples] if found.maps else []
    written = _figures(folder, found, panels, names)
    if found.maps is not None:
        FidelityFile.of(found.maps.found, found.maps.rules).save(folder / "fidelity.json")
        written.insert(0, "fidelity.json")
    content = _content(found, names)
    pictures = {Path(name).stem: (folder / name).read_bytes() for name in written if name.endswith(".png")}
    write_text(folder / "report.html", html("run.html", content, panels=panels, pictures=pictures))
    write_text(folder / "report.md", markdown("run.md", content, pictures=tuple(pictures)))
    return ["report.html", "report.md", *written]


def _figures(folder: Path, found: Findings, panels: Sequence[Panels], names: Sequence[str]) -> list[str]:
    """Writes the pictures that cannot be drawn in the page, and returns their paths relative to `folder`."""
    written = []
    if (heads := class_map(found.groups.groups, _class_wise(found), names)) is not None:
        save_figure(heads, folder / "figures/classes.png")
        written.append("figures/classes.png")
    if panels:
        with atomic_path(folder / "figures/evidence.png") as part:
            sheet(panels).save(part, format="PNG")
        written.append("figures/evidence.png")
    return written


def _content(found: Findings, names: Sequence[str]) -> dict[str, Any]:
    """What the templates show."""
    bench, groups, kept = found.bench, found.groups.groups, found.plan.kept
    curves = score_curves(groups, found.scores, kept)
    return {
        "title": model_title(found.recipe.model),
        "verdict": verdict_of(bench, guesses(found)),
        "rows": rows_of(bench),
        "budget": budget_row(found),
        "steps": next_steps(found),
        "facts": facts_of(found),
        "notes": [*notes_of(found), *conditions_of(bench)],
        "loading": loading_notes(found),
        "left_out": left_out(found),
        "network": network(groups, kept),
        "curves": {title: [one for one in curves if one.kind == kind] for kind, title in KIND_TITLES.items()},
        "score": found.scores.method,
        "fronts": fronts_of_run(bench, found.sweep, found.folder.name),
        "latencies": latency_charts(bench),
        "times": layer_times(found.layers) if found.layers else None,
        "maps": found.maps,
        "strips": precision_strips(found.engines),
        "tables": _tables(found, names),
        "reproduce": commands_of(found),
        "environment": asdict(bench.environment),
        "recipe": found.recipe.to_yaml(),
        "has_energy": any(one.energy for one in bench.conditions.values()),
        "folder": str(found.folder),
    }


def _tables(found: Findings, names: Sequence[str]) -> list[FoldedTable]:
    """All tables below the pictures."""
    groups, kept = found.groups, found.plan.kept
    of_bench = (class_table(found.bench), energy_table(found.bench))
    of_graphs = (parity_table(found.graphs), kept_table(found.graphs), engine_table(found.engines))
    pruned = tuple(
        (row.name, row.kind, str(row.units), str(len(kept[row.name]))) for row in groups.groups if row.name in kept
    )
    return [
        *filter(None, (*of_bench, *of_graphs, _soles(groups, _class_wise(found), names))),
        *mixed_tables(found.graphs),
        *layer_tables(found.engines),
        FoldedTable(
            "Every pruned group",
            "Groups that are not named keep all their units.",
            ("group", "kind", "dense", "kept"),
            pruned,
            frozenset({"dense", "kept"}),
        ),
    ]


def _class_wise(found: Findings) -> ByClass:
    return class_wise(found.scores) if found.classes else {}


def _soles(groups: GroupTable, scores: ByClass, classes: Sequence[str]) -> FoldedTable | None:
    """For each class how many units serve it alone, and the names of the first few."""
    found = sole_units(groups.groups, scores)
    rows = []
    for number, name in enumerate(classes):
        units = [f"{group}[{unit}]" for group, unit, only in found if only == number]
        if units:
            rows.append((name, str(len(units)), ", ".join(units[:NAMED]) + (", ..." if len(units) > NAMED else "")))
    said = "Among the first tenth of their kind for that class, and in the lower half for every other one."
    heads = ("class", "units that serve it alone", "which")
    title = "Units of the dense model that serve one class alone"
    return FoldedTable(title, said, heads, tuple(rows), frozenset(heads[1:2])) if rows else None
