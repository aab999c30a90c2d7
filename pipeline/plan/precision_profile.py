"""Measures what operations take less in a narrower precision: one family of them after the other goes to it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from glob import escape
from pathlib import Path
from typing import Any

from torch import nn

from secateur.core.errors import PlanError
from secateur.export.graph_types import graph_tensors, read_graph
from secateur.export.precision import EIGHT_BITS
from secateur.export.quantize.graph_edit import read_program
from secateur.export.quantize.observe import Calibration, feeds_of
from secateur.export.quantize.placement import place
from secateur.export.quantize.quantize import quantize_onnx
from secateur.export.quantize.spec import Quantization
from secateur.export.targets import Target, check_bits
from secateur.export.to_onnx import export_onnx
from secateur.pipeline.plan.graph_terms import terms_of_graph
from secateur.pipeline.plan.kept_timings import KeptTimings
from secateur.pipeline.plan.latency_table import OperationCurve
from secateur.pipeline.plan.timing import Timing
from secateur.pipeline.structure.groups import Groups, Kept

Widths = Sequence[tuple[nn.Module, Kept]]
"""Models with the units that each has kept of the dense one."""


def operation_curves(
    models: Widths,
    groups: Groups,
    precisions: Collection[str],
    calibration: Iterable[Any],
    options: Quantization,
    timing: Timing,
    folder: Path,
    timings: KeptTimings,
) -> tuple[OperationCurve, ...]:
    """For each precision and family of operations, what they take less in it, in the dense model and narrower ones.

    The graphs are those of the export: operations become 8 bits where `quantize_onnx` does that by the `options`, with
    the first and the last one. In each model a family goes to 8 bits after the other, in the order of the graph, and is
    timed in turns with the graph before: so their savings add up to that of the graph in 8 bits, with what neighbours
    in 8 bits save together. Operations of one family have names that differ in numbers alone.
    """
    calibration = Calibration(calibration)
    how = replace(options, ends=True, rule="minmax", balance=0.0, correct=False)  # values take the same time
    found: dict[tuple[str, str], dict[float, tuple[float, float, float]]] = {}
    members: dict[tuple[str, str], tuple[str, ...]] = {}
    dense = {term.name: term.count({}) for term in groups.terms}
    for number, (model, kept) in enumerate(models):
        there = folder / f"width{number}"
        there.mkdir()
        fp32 = export_onnx(model, there / "fp32.onnx", groups.inputs.draw()).path
        macs = {term.name: term.count(kept) for term in groups.terms}
        rest = fp32
        if how.rest != "fp32":
            rest = wide_graph(model, groups, there / f"{how.rest}.onnx", how.rest, calibration)
        for precision in precisions:
            nodes = _families(fp32, groups, kept, precision, calibration, how)
            before = cache(partial(timing.subject, rest))
            for family, graph in _graphs(fp32, nodes, precision, calibration, how):
                after = cache(partial(timing.subject, graph))
                name = f"{family} in {precision}, {'narrower' if kept else 'dense'}"
                saved = timings.saved(name, timing, before, after)
                key, names = (precision, family), tuple(dict.fromkeys(nodes[family].values()))
                share = sum(macs[name] for name in names) / sum(dense[name] for name in names)
                points = found.setdefault(key, {0.0: (0.0, 0.0, 0.0)})
                points.setdefault(share, (saved.saved_ms, saved.low_ms, saved.high_ms))  # some are never narrower
                members[key] = tuple(dict.fromkeys((*members.get(key, ()), *names)))
                before = after
    curves = []
    for key, points in found.items():
        shares = tuple(sorted(points))
        saved_ms, low_ms, high_ms = zip(*(points[share] for share in shares), strict=True)
        whole = tuple(dense[name] for name in members[key])
        curves.append(OperationCurve(key[0], members[key], whole, shares, saved_ms, low_ms, high_ms))
    return tuple(curves)


def check_precisions(target: Target, precisions: Collection[str], calibration: object) -> None:
    """Raises `PlanError` or `EngineError` where operations cannot be timed in these precisions on the target."""
    if others := [word for word in precisions if word not in EIGHT_BITS]:
        raise PlanError(
            f"operations cannot be timed in {', '.join(others)}: give {' or '.join(EIGHT_BITS)}, and what the rest of "
            "the graph is in by the options' rest"
        )
    if precisions and target.runtime == "torch":
        raise PlanError(
            f"{target} runs the module as it is, and has no {', '.join(precisions)}: give the target of a "
            "runtime, such as onnxruntime:cpu"
        )
    for precision in precisions:
        check_bits(target, precision)
    if precisions and calibration is None:
        raise PlanError(
            f"timing operations in {', '.join(precisions)} needs calibration images, from which the graphs are made: "
            "give calibration=, any iterable of (images, labels)"
        )


def wide_graph(model: nn.Module, groups: Groups, path: Path, rest: str, calibration: Iterable[Any] | None) -> Path:
    """The graph of a model with nothing in 8 bits, all in the type that the rest of graphs in 8 bits has."""
    return export_onnx(model, path, groups.inputs.draw(), precision=rest, calibration=calibration).path


def _families(
    fp32: Path, groups: Groups, kept: Kept, precision: str, calibration: Iterable[Any], options: Quantization
) -> dict[str, dict[str, str]]:
    """The products of the graph that can be in the precision, each family's nodes with the terms that they are."""
    program = read_program(fp32)
    takes = graph_tensors(read_graph(fp32))[0]
    terms = terms_of_graph(program, feeds_of(calibration, takes).judging(), groups, kept)
    found: dict[str, dict[str, str]] = {}
    for product in place(program, options.keep, options.ends, precision).products:
        term = terms[product.node]
        family = ".".join("*" if part.isdigit() else part for part in term.split("."))
        found.setdefault(family, {})[product.node] = term
    return found


def _graphs(
    fp32: Path,
    families: dict[str, dict[str, str]],
    precision: str,
    calibration: Iterable[Any],
    options: Quantization,
) -> Iterator[tuple[str, Path]]:
    """The graphs with one more family in 8 bits each, in their order, and which family that is."""
    wide = {node for nodes in families.values() for node in nodes}
    for place_of, (family, nodes) in enumerate(families.items()):
        wide -= set(nodes)
        keep = (*options.keep, *map(escape, sorted(wide)))
        graph = fp32.with_name(f"{precision}.{place_of}.onnx")
        quantize_onnx(fp32, graph, calibration, precision, replace(options, keep=keep))
        yield family, graph
