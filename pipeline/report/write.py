"""Writes a run's report: one self-contained HTML page, one Markdown summary, and the pictures of both."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from jinja2 import Environment

from secateur.benchmarks.results_file import BenchResult
from secateur.core.figures import save_figure
from secateur.core.files import write_text
from secateur.export.artefacts import ExportedGraph
from secateur.export.engine_info import EngineInfo
from secateur.export.graph_types import bit_ops
from secateur.pipeline.analysis.fidelity import Fidelity
from secateur.pipeline.analysis.fidelity_file import FidelityFile
from secateur.pipeline.data.classes import spelt_out
from secateur.pipeline.recover.spec import RecoverSpec
from secateur.pipeline.report.class_map import ByClass, class_map, class_wise, sole_units
from secateur.pipeline.report.evidence import evidence
from secateur.pipeline.report.figures import kept_units, latency
from secateur.pipeline.report.graph_tables import engine_table, kept_table
from secateur.pipeline.report.mixed_table import mixed_tables
from secateur.pipeline.report.pages import HTML, MARKDOWN
from secateur.pipeline.report.table import compact, rows_of
from secateur.pipeline.runs.recipe import Recipe
from secateur.pipeline.scores.score import Scores
from secateur.pipeline.structure.describe import GroupTable
from secateur.pipeline.structure.plan import Plan

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


@dataclass(frozen=True)
class Findings:
    """All that a report tells of a run. `classes` are those of the images, by name; the fidelity may be left out.

    `graphs` are the exported ones by their names, `engines` the built ones by their folders in the run.
    """

    recipe: Recipe
    groups: GroupTable
    scores: Scores
    plan: Plan
    bench: BenchResult
    classes: tuple[str, ...] = ()
    fidelity: Fidelity | None = None
    graphs: Mapping[str, ExportedGraph] = field(default_factory=dict)
    engines: Mapping[str, EngineInfo] = field(default_factory=dict)


def write_report(folder: Path, found: Findings) -> list[str]:
    """Writes `report.html`, `report.md` and `figures/*.png`; returns their paths relative to `folder`.

    With a fidelity, its numbers and examples are shown, and `fidelity.json` holds all of them. Where the scores are
    class-wise, the heads' and units' classes are shown.
    """
    bench, groups, kept = found.bench, found.groups.groups, found.plan.kept
    pictures = {"kept_units": kept_units(groups, kept), "latency": latency(bench)}
    facts = _facts(found)
    scores = class_wise(found.scores) if found.classes else {}
    names = spelt_out(found.classes)
    if (heads := class_map(groups, scores, names)) is not None:
        pictures["classes"] = heads
    written = ["report.html", "report.md"]
    if (maps := found.fidelity) is not None:
        pictures["evidence"] = evidence(maps, names)
        agreement = f"cosine {maps.mean_cosine:.2f}, rank {maps.mean_rank:.2f} on {len(maps.cosine)} images"
        facts.append(("agreement of maps", agreement))
        FidelityFile.of(maps).save(folder / "fidelity.json")
        written.append("fidelity.json")
    files = {name: f"figures/{name}.png" for name in pictures}
    for name, figure in pictures.items():
        save_figure(figure, folder / files[name])
    content = {
        "title": found.recipe.model.name,
        "rows": rows_of(bench),
        "recipe": found.recipe.to_yaml(),
        "facts": facts,
        "layers": [(row.name, row.kind, row.units, len(kept[row.name])) for row in groups if row.name in kept],
        "soles": _soles(found.groups, scores, names),
        "skipped": bench.skipped,
        "narrowed": [one.said for one in bench.narrowed],
        "tables": [
            *mixed_tables(found.graphs),
            *filter(None, (kept_table(found.graphs), engine_table(found.engines))),
        ],
        "environment": asdict(bench.environment),
        "titles": TITLES,
        "captions": {name: CAPTIONS[name] for name in pictures},
        "images": {name: base64.b64encode((folder / file).read_bytes()).decode() for name, file in files.items()},
    }
    pages = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    write_text(folder / "report.html", pages.from_string(HTML).render(content))
    plain = Environment(autoescape=False, trim_blocks=True, lstrip_blocks=True)
    write_text(folder / "report.md", plain.from_string(MARKDOWN).render(content))
    return [*written, *files.values()]


def _recovery(recover: RecoverSpec) -> str:
    """How the rest was repaired, in words."""
    steps = []
    if recover.compensate:
        ridge = "chosen for each layer" if recover.ridge is None else f"{recover.ridge:g}"
        words = ", front to back" * recover.front_to_back + ", statistics of the images" * recover.adapt_statistics
        steps.append(f"ridge compensation ({ridge}){words}")
    if (lessons := recover.distill).epochs:
        epochs = f"{lessons.epochs} epoch{'s' if lessons.epochs > 1 else ''}"
        steps.append(f"{epochs} of distillation, {lessons.labels:.0%} of it on labels")
    return ", then ".join(steps) or "none"


def _facts(found: Findings) -> list[tuple[str, str]]:
    """What was done, as pairs of a name and a phrase."""
    recipe, facts, images = found.recipe, found.plan.facts, found.bench.evaluation_images
    budget = {key: value for key, value in asdict(recipe.budget).items() if value is not None}
    planned = []
    if facts is not None:
        planned.append(("planned MACs", f"{compact(facts.macs)} of {compact(facts.macs_dense)}"))
        if facts.budget == "latency":
            planned.append(("planned latency", f"{facts.cost:.3f} ms on {recipe.budget.target}"))
        if facts.budget == "bit_ops":
            share = facts.cost / bit_ops(facts.macs_dense, "fp32")
            planned.append(("planned bit-operations", f"{share:.1%} of dense in fp32"))
        if facts.precisions:
            counts = Counter(facts.precisions.values()).items()
            planned.append(("planned operations by precision", ", ".join(f"{word}: {count}" for word, count in counts)))
    return [
        *([("classes", ", ".join(spelt_out(recipe.classes)))] if recipe.classes else []),
        ("budget", ", ".join(f"{key} {value}" for key, value in budget.items())),
        ("scores", recipe.score.method),
        ("allocation", f"{recipe.plan.allocate}, widths in multiples of {recipe.plan.align}"),
        ("recovery", _recovery(recipe.recover)),
        *planned,
        ("held-out images", "unknown" if images is None else str(images)),
    ]


def _soles(groups: GroupTable, scores: ByClass, classes: Sequence[str]) -> list[tuple[str, int, str]]:
    """For each class how many units serve it alone, and the names of the first few."""
    found = sole_units(groups.groups, scores)
    rows = []
    for number, name in enumerate(classes):
        units = [f"{group}[{unit}]" for group, unit, only in found if only == number]
        if units:
            rows.append((name, len(units), ", ".join(units[:NAMED]) + (", ..." if len(units) > NAMED else "")))
    return rows
