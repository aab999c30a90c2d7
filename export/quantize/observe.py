"""Runs a graph on calibration images and yields the tensors inside it."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from secateur.core.errors import ExportError
from secateur.core.model_inputs import chosen, samples_of, tensors_in
from secateur.export.graph_types import first_line
from secateur.export.ort_engine import open_session
from secateur.export.runner.tensors import TensorInfo

if TYPE_CHECKING:
    import onnx_ir as ir

Arrays = Mapping[str, NDArray[Any]]

FEWEST = 4
"""Images that calibration needs at the least: three of four measure ranges, the fourth judges them."""


class Quarter:
    """Every fourth image of a loader with its label, or with `others` the three between; it can be read again.

    The fourth judges what the others have measured.
    """

    def __init__(self, loader: Iterable[Any], others: bool = False) -> None:
        self._loader, self._others = loader, others

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        seen = 0
        for number, batch in enumerate(self._loader):
            if not isinstance(batch, tuple | list) or len(batch) != 2:
                raise ExportError(
                    f"batch {number} of the calibration images is a {type(batch).__name__}, but pairs (images, labels) "
                    "are needed: give any iterable of them"
                )
            images, labels = batch
            places = torch.arange(seen, seen + samples_of(images)) % FEWEST == FEWEST - 1
            seen += len(places)
            rows = places != self._others
            if rows.any():
                yield chosen(images, rows), None if labels is None else torch.as_tensor(labels)[rows]


class CalibrationFeeds:
    """Calibration images as what a graph is fed, split in two: every fourth judges what the others have measured.

    `loader` is any iterable of (images, labels) that can be read several times; of several inputs, the images are a
    tuple or a dictionary in the order of the graph's inputs. `digest` is the hash of all their values. Raises
    `ExportError` where they do not fit the graph, are fewer than `FEWEST`, hold one value alone or none that is finite.
    """

    def __init__(self, loader: Iterable[Any], takes: Sequence[TensorInfo]) -> None:
        self._fitting, self._judging, self._takes = Quarter(loader, others=True), Quarter(loader), tuple(takes)
        digest, self.images, low, high = hashlib.sha256(), 0, np.inf, -np.inf
        for feeds in self.every():
            for array in feeds.values():
                digest.update(array.tobytes())
            first = next(iter(feeds.values()))
            self.images += len(first)
            low, high = min(low, float(first.min())), max(high, float(first.max()))
        self.digest = digest.hexdigest()
        if self.images < FEWEST:
            raise ExportError(
                f"{self.images or 'no'} calibration image{' was' if self.images == 1 else 's were'} given, but 8 bits "
                f"need {FEWEST} or more, such as 10 of each class: raise export.quantize.samples_per_class or give more"
            )
        if low == high:
            raise ExportError(
                f"every value of the {self.images} calibration images is {low:.4g}, as if all were black: give images "
                "like those that the model will meet"
            )

    def every(self) -> Iterator[Arrays]:
        """All images: those that measure, then those that judge, in batches."""
        return chain(self.fitting(), self.judging())

    def fitting(self) -> Iterator[Arrays]:
        """The three of four images that measure, in batches."""
        return self._feeds(self._fitting)

    def judging(self) -> Iterator[Arrays]:
        """The images that judge, in batches."""
        return self._feeds(self._judging)

    def _feeds(self, part: Quarter) -> Iterator[dict[str, NDArray[Any]]]:
        for images, _ in part:
            tensors = tensors_in(images)
            arrays = [one.detach().cpu().numpy() for one in tensors]
            if len(arrays) != len(self._takes) or not all(
                tensor.accepts(array.shape) for tensor, array in zip(self._takes, arrays, strict=True)
            ):
                shapes = ", ".join(str(list(array.shape)) for array in arrays)
                raise ExportError(
                    f"the calibration images are {shapes}, but the graph takes {', '.join(map(str, self._takes))}: "
                    "apply the model's preprocessing (sc.transform_for)"
                )
            if not all(np.isfinite(array).all() for array in arrays):
                raise ExportError("the calibration images hold values that are not finite: correct them")
            named = zip(self._takes, arrays, strict=True)
            yield {tensor.name: array.astype(tensor.dtype) for tensor, array in named}


class Calibration:
    """Calibration images that several graphs are made with: all that take the same inputs share their feeds.

    So the images are read for their check and their hash once, not for each graph.
    """

    def __init__(self, loader: Iterable[Any]) -> None:
        self._loader = loader
        self._feeds: dict[tuple[TensorInfo, ...], CalibrationFeeds] = {}

    def __iter__(self) -> Iterator[Any]:
        return iter(self._loader)

    def feeds(self, takes: Sequence[TensorInfo]) -> CalibrationFeeds:
        """The images as feeds of a graph that takes these inputs; raises what `CalibrationFeeds` does."""
        if (key := tuple(takes)) not in self._feeds:
            self._feeds[key] = CalibrationFeeds(self._loader, takes)
        return self._feeds[key]


def feeds_of(calibration: Iterable[Any], takes: Sequence[TensorInfo]) -> CalibrationFeeds:
    """Calibration images as feeds of a graph that takes these inputs: those of a `Calibration`, or new ones."""
    shared = calibration if isinstance(calibration, Calibration) else Calibration(calibration)
    return shared.feeds(takes)


def observed(
    program: ir.Model, names: Iterable[str], batches: Iterable[Arrays], *, as_written: bool = False
) -> Iterator[dict[str, NDArray[Any]]]:
    """For each batch, the tensors of those names in the program: inputs, outputs, or what lies between.

    Of a graph with Q/DQ pairs, what lies between is right where it runs `as_written` only: ONNX Runtime moves pairs
    through transpositions.
    """
    import onnx_ir as ir

    wanted = tuple(dict.fromkeys(names))
    graph = program.graph
    given = {str(value.name) for value in graph.inputs}
    values = {str(value.name): value for node in graph for value in node.outputs}
    outputs = {str(value.name) for value in graph.outputs}
    added = [values[name] for name in wanted if name not in outputs | given]
    graph.outputs.extend(added)
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "observed.onnx"
            ir.save(program, path, external_data="observed.data")
            session = open_session(path, "cpu", as_written=as_written)
            asked = [name for name in wanted if name not in given]
            for feeds in batches:
                yield {**{name: feeds[name] for name in wanted if name in given}, **_run(session, asked, feeds)}
    finally:
        for value in added:
            graph.outputs.remove(value)


def _run(session: Any, names: list[str], feeds: Arrays) -> dict[str, NDArray[Any]]:
    if not names:  # ONNX Runtime takes this for every output
        return {}
    try:
        return dict(zip(names, session.run(names, dict(feeds)), strict=True))
    except Exception as error:  # ONNX Runtime's exceptions share no public base class
        raise ExportError(
            f"ONNX Runtime cannot run the graph on the calibration images ({first_line(error)})"
        ) from error
