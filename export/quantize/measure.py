"""What calibration measures in a graph, and a file of it that fits no other graph and no other images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from secateur.core.errors import ExportError
from secateur.core.files import write_tensors
from secateur.export.graph_types import first_line
from secateur.export.quantize.balance import balance, balanced_outputs
from secateur.export.quantize.correct import mean_input
from secateur.export.quantize.observe import CalibrationFeeds, observed
from secateur.export.quantize.placement import Placement
from secateur.export.quantize.ranges import Histogram

if TYPE_CHECKING:
    import onnx_ir as ir

Arrays = Mapping[str, NDArray[Any]]
SCHEMA = "secateur.calibration/1"
OTHERS = {"graph": "another graph", "images": "other images", "options": "other options"}
"""What a cache can be of that does not fit, by the name of the hash that differs."""


class OtherCalibrationError(ExportError):
    """A calibration cache is of another graph, other images or other options."""


@dataclass(frozen=True)
class Measurements:
    """What was seen on calibration images: the `largest` magnitudes `[channels]` of what is to be balanced, and once
    it is, the histograms of all activations and the `means` of those that meet a weight.
    """

    largest: Arrays
    histograms: Mapping[str, Histogram]
    means: Arrays

    def save(self, path: Path, origin: Mapping[str, str]) -> None:
        """Writes them with the hashes of what they were measured from: `graph`, `images` and `options`."""
        tensors = {f"largest {name}": array for name, array in self.largest.items()}
        tensors |= {f"mean {name}": array for name, array in self.means.items()}
        for name, histogram in self.histograms.items():
            tensors[f"counts {name}"] = histogram.counts
            tensors[f"limits {name}"] = np.array([histogram.limit, histogram.largest])
        written = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in tensors.items()}
        write_tensors(path, written, {"schema": SCHEMA, **origin})

    @staticmethod
    def load(path: Path, origin: Mapping[str, str]) -> Measurements:
        """What the file says; raises `ExportError` for one that is damaged, and `OtherCalibrationError` for one of
        another graph, other images or other options.
        """
        from safetensors import safe_open

        remedy = "remove it, or name another file"
        try:
            with safe_open(str(path), "numpy") as file:
                notes = file.metadata() or {}
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no dictionary
        except Exception as error:  # safetensors raises its own type and several others
            raise ExportError(f"{path} is no calibration cache ({first_line(error)}): {remedy}") from error
        if notes.get("schema") != SCHEMA:
            raise ExportError(f"{path} has the schema {notes.get('schema')!r}, not {SCHEMA!r}: {remedy}")
        others = [OTHERS[word] for word, value in origin.items() if notes.get(word) != value]
        if others:
            raise OtherCalibrationError(f"the calibration cache {path} is of {' and '.join(others)}: {remedy}")
        parts: dict[str, dict[str, NDArray[Any]]] = {word: {} for word in ("largest", "mean", "counts", "limits")}
        for key, array in arrays.items():
            word, _, name = key.partition(" ")
            parts[word][name] = array
        histograms = {
            name: Histogram(counts, *map(float, parts["limits"][name])) for name, counts in parts["counts"].items()
        }
        return Measurements(parts["largest"], histograms, parts["mean"])


def measure(program: ir.Model, placement: Placement, feeds: CalibrationFeeds, strength: float) -> Measurements:
    """Balances the program in place, unless `strength` is 0, and measures it; see `Measurements`."""
    largest = _largest(program, placement, feeds) if strength else {}
    balance(program, placement, largest, strength)
    histograms = {name: Histogram() for name in placement.activations}
    types = {str(node.name): node.op_type for node in program.graph}
    weighted = {product.activations[0]: types[product.node] for product in placement.products if product.weight}
    sums: dict[str, NDArray[np.float64]] = {}
    rows = 0
    for arrays in observed(program, placement.activations, feeds.fitting()):
        count = len(next(iter(arrays.values())))
        rows += count
        for name, array in arrays.items():
            if not np.isfinite(array).all():
                raise ExportError(f"{name} is not finite on the calibration images: correct the model or the images")
            histograms[name].add(array)
            if name in weighted:
                mean = mean_input(weighted[name], array) * count
                sums[name] = sums[name] + mean if name in sums else mean
    return Measurements(largest, histograms, {name: total / rows for name, total in sums.items()})


def _largest(program: ir.Model, placement: Placement, feeds: CalibrationFeeds) -> dict[str, NDArray[Any]]:
    found: dict[str, NDArray[Any]] = {}
    outputs = balanced_outputs(program, placement)
    for arrays in observed(program, outputs, feeds.fitting()) if outputs else ():
        for name, array in arrays.items():
            here = np.abs(array).reshape(-1, array.shape[-1]).max(0)
            found[name] = np.maximum(found[name], here) if name in found else here
    return found
