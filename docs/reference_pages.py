"""A Sphinx extension for the reference: what the code knows of itself, as pages.

`recipe-keys` has a table of the keys of each section; `public-names` documents the names of `secateur.__all__`, those
of one room together; `file-formats` has a table of the fields of each JSON file.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from collections.abc import Iterator
from typing import Any, get_args, get_type_hints

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import secateur
from secateur.pipeline.runs.keys import Key, describe_keys

ROOMS = {
    "pipeline.models": "Models",
    "pipeline.data": "Images",
    "pipeline.structure": "Groups and surgery",
    "pipeline.scores": "Scores",
    "pipeline.plan": "Plans",
    "pipeline.recover": "Recovery",
    "pipeline.analysis": "Analysis",
    "pipeline.runs": "Runs",
    "pipeline.report": "Runs",
    "export": "Graphs and engines",
    "kernels": "Kernels",
    "benchmarks": "Measurement",
    "core": "Errors",
}
"""The heading of the names that a room holds; a name of a room that is missing here is an error."""

FORMATS: dict[str, tuple[str, str]] = {
    "groups.json": ("groups", "pipeline.structure.describe:GroupTable"),
    "plan.json": ("plan", "pipeline.structure.plan:Plan"),
    "repairs.json": ("repairs", "pipeline.recover.repairs_file:RepairsFile"),
    "reconstruction.json": ("reconstruction", "pipeline.recover.reconstruct:Reconstruction"),
    "export.json": ("export", "export.artefacts:ExportFile"),
    "build.json": ("build", "export.artefacts:BuildFile"),
    "engines/TARGET/engine.json": ("engine", "export.engine_info:EngineInfo"),
    "bench.json": ("bench", "benchmarks.results_file:BenchResult"),
    "layers.json": ("layers", "benchmarks.layers.layers_file:LayerProfile"),
    "latency tables": ("latency", "pipeline.plan.latency_table:LatencyTable"),
    "curve.json": ("curve", "pipeline.runs.curve_file:CurveFile"),
    "search.json": ("search", "pipeline.runs.search_run:SearchFile"),
    "sweep.json": ("sweep", "pipeline.runs.sweep:SweepFile"),
    "fidelity.json": ("fidelity", "pipeline.analysis.fidelity_file:FidelityFile"),
    "manifest.json": ("manifest", "pipeline.runs.manifest:Manifest"),
    "entries of a history": ("history", "benchmarks.history.entry:Entry"),
}
"""Each file that users meet: the kind in its schema, and the dataclass that writes it."""


def names_by_room() -> dict[str, list[tuple[str, str]]]:
    """The public names, as (name, full path), under the heading of their room."""
    found: dict[str, list[tuple[str, str]]] = {heading: [] for heading in ROOMS.values()}
    for name in secateur.__all__:
        if name != "__version__":
            module = getattr(secateur, name).__module__.removeprefix("secateur.")
            (heading,) = {heading for room, heading in ROOMS.items() if f"{module}.".startswith(f"{room}.")}
            found[heading].append((name, f"secateur.{module}.{name}"))
    return {heading: sorted(names, key=lambda pair: pair[0].lower()) for heading, names in found.items() if names}


def record_of(path: str) -> Any:
    """The dataclass that `module:name` names."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(f"secateur.{module}"), name)


def fields_of(record: Any, place: str = "", above: tuple[Any, ...] = ()) -> Iterator[tuple[str, str]]:
    """The fields of a file as (key, type in words), those of dataclasses inside after it."""
    hints = get_type_hints(record)
    for item in dataclasses.fields(record):
        hint = hints[item.name]
        yield f"{place}{item.name}", type_words(hint)
        for inner in dict.fromkeys(dataclasses_in(hint)):
            if inner not in above:
                many = "" if hint is inner else "[]"
                yield from fields_of(inner, f"{place}{item.name}{many}.", (*above, inner))


def dataclasses_in(hint: Any) -> Iterator[Any]:
    """The dataclasses that a type holds."""
    if dataclasses.is_dataclass(hint):
        yield hint
    for part in get_args(hint):
        yield from dataclasses_in(part)


def type_words(hint: Any) -> str:
    """A type as it is written, without the modules of its names."""
    if isinstance(hint, type) and not get_args(hint):
        return hint.__name__
    words = inspect.formatannotation(hint)
    for inner in dict.fromkeys(dataclasses_in(hint)):
        words = words.replace(f"{inner.__module__}.{inner.__qualname__}", inner.__name__)
    return words.replace("collections.abc.", "").replace("typing.", "").replace("pathlib.", "")


class _Generated(SphinxDirective):
    """A directive whose content is Markdown that `lines` makes."""

    def lines(self) -> Iterator[str]:
        raise NotImplementedError(f"{type(self).__name__} makes no lines")

    def run(self) -> list[nodes.Node]:
        lines = StringList(list(self.lines()), source=f"<{self.name}>")
        return self.parse_text_to_nodes("\n".join(lines), allow_section_headings=True)


def rows_of_keys() -> dict[str, list[Key]]:
    """The keys of a recipe by their section; those that belong to one score method together."""
    found: dict[str, list[Key]] = {}
    for key in describe_keys():
        section = f"score.options of {key.method}" if key.method else key.name.rpartition(".")[0] or "the recipe itself"
        found.setdefault(section, []).append(key)
    return found


class RecipeKeys(_Generated):
    """The keys of a recipe, section by section."""

    def lines(self) -> Iterator[str]:
        for section, keys in rows_of_keys().items():
            yield from (f"## {section}", "", "| key | takes | default | what it does |", "| --- | --- | --- | --- |")
            for key in keys:
                cells = (f"`{key.name}`", key.takes, f"`{key.default}`", key.summary)
                yield f"| {' | '.join(cell_of(cell) for cell in cells)} |"
            yield ""


def cell_of(text: str) -> str:
    """A text in one line of a table."""
    return " ".join(text.split()).replace("|", "\\|")


class PublicNames(_Generated):
    """The public names, room by room, by their docstrings."""

    def lines(self) -> Iterator[str]:
        for heading, names in names_by_room().items():
            yield from (f"## {heading}", "")
            for name, path in names:
                thing = getattr(secateur, name)
                kind = "autoclass" if inspect.isclass(thing) else "autofunction" if callable(thing) else "autodata"
                yield from ("```{eval-rst}", f".. {kind}:: {path}", *(["   :members:"] if kind == "autoclass" else []))
                yield from ("```", "")


class FileFormats(_Generated):
    """The JSON files, with the fields of each."""

    def lines(self) -> Iterator[str]:
        for file, (kind, path) in FORMATS.items():
            record = record_of(path)
            yield from (f"## {file}", "", f"`secateur.{kind}/1`. {inspect.getdoc(record)}", "")
            yield from ("| key | type |", "| --- | --- |")
            yield from (f"| `{key}` | `{words.replace('|', 'or')}` |" for key, words in fields_of(record))
            yield ""


def setup(app: Sphinx) -> dict[str, Any]:
    """Registers the directives."""
    app.add_directive("recipe-keys", RecipeKeys)
    app.add_directive("public-names", PublicNames)
    app.add_directive("file-formats", FileFormats)
    return {"parallel_read_safe": True}
