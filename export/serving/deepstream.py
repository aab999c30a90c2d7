"""A configuration of DeepStream's Gst-nvinfer, and the graph that goes with it.

nvinfer hands over y = net-scale-factor * (x - offsets[c]), planar, for pixels x from 0 to 255: one factor for all
channels. Where the standard deviations of a model differ, what is left of them is in the graph written here: the
factors go into the weights of the first convolution, or are one multiplication before all else. A graph that normalises
itself gets the pixels as they are, planar and in float32.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from secateur.core.errors import ExportError
from secateur.core.files import write_text
from secateur.export.graph_file import write_graph
from secateur.export.graph_types import read_graph
from secateur.export.inside import check_same, pictures, rescale, take_planar
from secateur.export.notes import Notes, graph_notes
from secateur.export.preprocessing import NOTE, Preprocessing
from secateur.export.serving.triton import LABELS

GRAPH, CONFIG = "model.onnx", "config_infer.txt"
MODES = {"fp32": 0, "int8": 1, "fp16": 2}
"""nvinfer's `network-mode` of each precision that it knows."""


def write_deepstream(folder: Path, graph: Path, batch: int = 1) -> tuple[str, ...]:
    """Writes `config_infer.txt`, the graph and the labels into `folder`; returns the names of the files.

    Frames are served in batches of `batch`, and the outputs are attached to them as they are (`output-tensor-meta`).
    Raises `ExportError` for a graph that does not say its preprocessing, takes anything but one image, or is in a
    precision that nvinfer does not know, and where the graph written here computes something else.
    """
    notes = graph_notes(read_graph(graph), graph.name)
    rule = _rule(notes, graph.name)
    scale, factors = net_scale(rule)
    files = [GRAPH, *filter(None, [_write(graph, folder / GRAPH, rule, scale, factors)])]
    if notes.classes:
        write_text(folder / LABELS, ";".join(_label(name) for name in notes.classes) + "\n")
        files.append(LABELS)
    write_text(folder / CONFIG, _config(notes, rule, scale, batch))
    return (*files, CONFIG)


def net_scale(rule: Preprocessing) -> tuple[float, NDArray[np.float64]]:
    """The `net-scale-factor`, and for each channel the factor that is left to the graph."""
    if rule.inside:
        return 1.0, np.ones(len(rule.std))
    scales = 1 / (255 * np.asarray(rule.std, np.float64))
    one = float(scales.mean())
    return one, scales / one


def offsets(rule: Preprocessing) -> list[float]:
    """What nvinfer subtracts from the pixels of each channel."""
    return [0.0 if rule.inside else 255 * mean for mean in rule.mean]


def handed_over(rule: Preprocessing, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What nvinfer makes of pixels `[B, H, W, C]`: y = net-scale-factor * (x - offsets[c]), `[B, C, H, W]`."""
    means = np.asarray(offsets(rule), np.float32).reshape(-1, 1, 1)
    planar = pixels.transpose(0, 3, 1, 2).astype(np.float32)
    return np.ascontiguousarray(np.float32(net_scale(rule)[0]) * (planar - means), np.float32)


def _rule(notes: Notes, name: str) -> Preprocessing:
    rule = notes.preprocessing
    if rule is None:
        raise ExportError(f"{name} does not say how pictures become its input: export it by a run of secateur")
    if [tensor.dtype for tensor in notes.inputs] != ["uint8" if rule.inside else "float32"]:
        raise ExportError(
            f"{name} takes {', '.join(map(str, notes.inputs))}, but nvinfer hands over one image: give a graph of that"
        )
    if notes.precision not in MODES:
        raise ExportError(f"{name} is in {notes.precision}, but nvinfer knows {', '.join(MODES)}: give such a graph")
    return rule


def _write(graph: Path, path: Path, rule: Preprocessing, scale: float, factors: NDArray[np.float64]) -> str:
    """Writes the graph with its factors; returns the name of the file of external weights, if there is one."""
    import onnx_ir as ir

    program, even = ir.load(graph), np.allclose(factors, 1, rtol=1e-7, atol=0)
    if rule.inside:
        take_planar(program)
    elif not even:
        rescale(program, factors)
    if rule.inside or not even:
        del program.metadata_props[NOTE]  # it is not what this graph takes
    program.metadata_props["secateur.nvinfer"] = f"takes {scale!r} * (x - {offsets(rule)})"
    external = write_graph(program, path)
    pixels = pictures(rule, 0)
    remedy = "report it as an error of secateur"
    taken = pixels if rule.inside else rule.normalised(pixels)
    check_same(graph, path, taken, handed_over(rule, pixels), "nvinfer's normalisation", remedy)
    return external


def _label(name: str) -> str:
    """A label as nvinfer reads it: one line holds all, with semicolons between."""
    return " ".join(name.replace(";", ",").split())


def _config(notes: Notes, rule: Preprocessing, scale: float, batch: int) -> str:
    channels, height, width = rule.shape
    engine = f"{GRAPH}_b{batch}_gpu0_{notes.precision}.engine"  # as nvinfer names what it builds
    keys = {
        "gpu-id": 0,
        "gie-unique-id": 1,
        "process-mode": 1,
        "onnx-file": GRAPH,
        "model-engine-file": engine,
        "batch-size": batch,
        "network-mode": MODES[notes.precision],
        "infer-dims": f"{channels};{height};{width}",
        "network-input-order": 0,
        "model-color-format": 2 if channels == 1 else 0,
        "net-scale-factor": repr(scale),
        "offsets": ";".join(map(repr, offsets(rule))),
        "maintain-aspect-ratio": 0,
        "network-type": 100,
        "output-tensor-meta": 1,
        **({"labelfile-path": LABELS} if notes.classes else {}),
    }
    about = [
        "# Gst-nvinfer: y = net-scale-factor * (x - offsets[c]); what is left of the deviations is in the graph.",
        "# network-type 100 attaches the outputs as they are: take the largest yourself, and its name from the labels.",
    ]
    if rule.crop_pct < 1 or rule.crop_mode != "squash":
        about.append(
            f"# nvinfer stretches whole frames, but accuracy was measured on a {rule.crop_mode} crop of "
            f"{rule.crop_pct:.1%}: crop before it (nvvideoconvert src-crop, Gst-nvdspreprocess) for the same."
        )
    return "\n".join([*about, "[property]", *(f"{key}={value}" for key, value in keys.items())]) + "\n"
