"""Golden outputs: what a graph gives for the golden inputs, by ONNX Runtime on one thread of the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.core.errors import ExportError
from secateur.export.graph_types import first_line
from secateur.export.onnx_info import OnnxInfo
from secateur.export.parity import runnable


def golden_outputs(graph: OnnxInfo, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The outputs by name for inputs `[N, ...]`, one image at a time, as batches differ in the last bits.

    A graph in bf16, for which ONNX Runtime has no kernels, runs in float32 with its rounded weights; one in fp8 as it
    is written. Raises `ExportError` where the graph does not take the inputs, or gives numbers that are not finite.
    """
    session = runnable(graph.path, threads=1)
    names = [one.name for one in graph.outputs]
    count = len(next(iter(inputs.values())))
    try:
        rows = [session.run(names, {name: array[i : i + 1] for name, array in inputs.items()}) for i in range(count)]
    except Exception as error:  # ONNX Runtime's exceptions share no public base class
        raise ExportError(
            f"ONNX Runtime cannot run {graph.path.name} on the golden images ({first_line(error)})"
        ) from error
    found = {name: np.concatenate([row[index] for row in rows]) for index, name in enumerate(names)}
    for name, array in found.items():
        if len(array) != count or not np.isfinite(array).all():
            raise ExportError(
                f"{graph.path.name} gives {name!r} as {list(array.shape)} with numbers that are not finite, or not one "
                f"for each of {count} golden images: export it again or in a wider precision"
            )
    return found
