"""What a graph or an engine was found to run in, which may be something else than was asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from secateur.core.errors import EngineError, FallbackError, MissingPackageError

if TYPE_CHECKING:
    from secateur.export.targets import TypedTarget


@dataclass(frozen=True)
class Ran:
    """The execution provider of ONNX Runtime (empty for other runtimes), and how many products run in each precision.

    `products` of a TensorRT engine are all its layers that compute; empty where nobody could tell.
    """

    provider: str = ""
    products: Mapping[str, int] = field(default_factory=dict)


def found_in(form: Path, goal: TypedTarget, here: bool = True) -> Ran:
    """What the graph or engine at `form` runs in on `goal`; of one that runs elsewhere, what it declares.

    A session of ONNX Runtime that has timed it ran on the provider that was asked for: all others are refused.
    """
    from secateur.export.engine_info import ENGINE_FILE, INFO_FILE, EngineInfo
    from secateur.export.graph_types import declared_precisions, read_graph
    from secateur.export.ort_engine import INTEGER_PRODUCTS, PRODUCTS, PROVIDERS, session_layers

    folder = form if form.is_dir() else form.parent
    if goal.target.needs_build:
        described = (folder / INFO_FILE).is_file() and (form.is_dir() or form.name == ENGINE_FILE)
        return Ran(products=EngineInfo.load(folder).precisions if described else {})
    path = form / ENGINE_FILE if form.is_dir() else form
    declared = dict(Counter(declared_precisions(read_graph(path)).values()))
    if not here:
        return Ran(products=declared)
    provider = PROVIDERS[goal.target.device]
    if set(declared) <= {"fp32"}:  # which no runtime narrows
        return Ran(provider, declared)
    layers = session_layers(path, goal.target.device)
    products = Counter(one.precision for one in layers if one.kind in PRODUCTS | INTEGER_PRODUCTS)
    return Ran(provider, dict(products))


def fallback(form: Path, goal: TypedTarget) -> str:
    """The provider that ONNX Runtime would silently take on `goal` instead; empty where it takes none instead."""
    if goal.target.runtime != "onnxruntime" or goal.target.device == "cpu":
        return ""
    from secateur.export.engine_info import ENGINE_FILE
    from secateur.export.ort_engine import open_session

    try:
        open_session(form / ENGINE_FILE if form.is_dir() else form, goal.target.device)
    except FallbackError as error:
        return error.provider
    except (EngineError, MissingPackageError):  # why it was not measured has been said
        return ""
    return ""
