"""Secateur's int8 graphs beside the better of two libraries' on the same images, from `eight_bits.json`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from secateur_studies.eight_bits import loss
from secateur_studies.score_tables import Table

from secateur.core.files import read_json

LIBRARIES = ("onnxruntime.quantization", "ModelOpt entropy", "ModelOpt max")
OURS = ("secateur int8 and fp32", "secateur int8")
"""The graph that a recipe with `export.max_drop` gives where a run has one, else the one without a limit."""
MORE = ", ten classes"
"""How the name of a run ends whose images are others than those of the run before it, and whose graphs are the same."""

Row = Mapping[str, Any]


def beside_libraries(results: Path) -> Table:
    """Top-1 of each model by secateur and by the library that gets more images right, and the paired difference."""
    runs = read_json(results / "eight_bits.json", "eight_bits")["runs"]
    head = ("int8 of", "images", "fp32", "secateur", "the better library", "difference", "error of the logits, theirs")
    lines: list[tuple[str, ...]] = []
    for name, run in runs.items():
        graphs = run["graphs"]
        if not any(word in graphs for word in LIBRARIES):
            continue
        lines.append(line(name, graphs))
        if name.endswith(MORE):
            first = runs[name.removesuffix(MORE)]["graphs"]
            both = {word: joined(first[word], graphs[word]) for word in graphs.keys() & first.keys()}
            lines.append(line(f"{name.removesuffix(MORE)}, all of these", both))
    return head, lines


def line(name: str, graphs: Mapping[str, Row]) -> tuple[str, ...]:
    """The cells of one model on one set of images."""
    ours = next(graphs[word] for word in OURS if word in graphs)
    library = max((word for word in LIBRARIES if word in graphs), key=lambda word: float(graphs[word]["top1"]))
    more, around = loss(ours, graphs[library])
    return (
        name,
        f"{len(ours['right']):,}",
        f"{graphs['fp32']['top1']:.1f}",
        f"{ours['top1']:.1f}",
        f"{graphs[library]['top1']:.1f} ({library})",
        f"{more:+.1f} ± {around:.1f}",
        f"{ours['error']:.2%}, {graphs[library]['error']:.2%}",
    )


def joined(one: Row, other: Row) -> Row:
    """What one graph does on two sets of images, of which the error is the mean by images."""
    right = one["right"] + other["right"]
    share = len(one["right"]) / len(right)
    return {
        "right": right,
        "top1": 100 * right.count("1") / len(right),
        "error": share * one["error"] + (1 - share) * other["error"],
    }
