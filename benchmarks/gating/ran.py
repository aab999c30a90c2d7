"""What a graph or an engine was found to run in, which may be something else than was asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from secateur.core.errors import EngineError, FallbackError, MissingPackageError

if TYPE_CHECKING:
    from secateur.export.engine_info import Layer
    from secateur.export.targets import TypedTarget

BY_NODE = ("cuda", "tensorrt")
"""The devices of ONNX Runtime whose provider may leave single nodes to the CPU without a word."""


@dataclass(frozen=True)
class Ran:
    """The execution provider of ONNX Runtime (empty for other runtimes), and how many products run in each precision.

    `products` of an engine whose layers do not tell which are products are all that compute; empty where nobody could
    tell. Of those in another precision than was asked for, `otherwise` names the ones that no rule of the export keeps
    so, and `kept` counts the others. `nodes` counts those of a session by their provider, and `elsewhere` names the
    ones that matter and run on another one than was asked for (see `gating.placed`); both are empty on the CPU, where
    there is no other.
    """

    provider: str = ""
    products: Mapping[str, int] = field(default_factory=dict)
    kept: int = 0
    otherwise: tuple[str, ...] = ()
    nodes: Mapping[str, int] = field(default_factory=dict)
    elsewhere: tuple[str, ...] = ()

    def share(self, precision: str) -> float:
        """The share of the products in a precision among all that are not kept in another one; 0 of none."""
        meant = sum(self.products.values()) - self.kept
        return self.products.get(precision, 0) / meant if meant > 0 else 0.0


def found_in(form: Path, goal: TypedTarget, here: bool = True, graph: Path | None = None) -> Ran:
    """What the graph or engine at `form` runs in on `goal`; of one that runs elsewhere, what it declares.

    `graph` is what an engine was built from. A session of ONNX Runtime that has timed it ran on the provider that was
    asked for: all others are refused.
    """
    from secateur.benchmarks.gating.placed import Placed, placed_nodes
    from secateur.export.engine_info import ENGINE_FILE, INFO_FILE, EngineInfo, Layer
    from secateur.export.graph_types import declared_precisions, read_graph
    from secateur.export.ort_engine import INTEGER_PRODUCTS, PRODUCTS, PROVIDERS, session_layers
    from secateur.export.trt_inspect import product_layers

    folder = form if form.is_dir() else form.parent
    if goal.target.needs_build:
        described = (folder / INFO_FILE).is_file() and (form.is_dir() or form.name == ENGINE_FILE)
        layers = product_layers(EngineInfo.load(folder).layers) if described else ()
        return _with_products(Ran(), layers, goal.precision, graph)
    path = form / ENGINE_FILE if form.is_dir() else form
    declared = declared_precisions(read_graph(path))
    as_declared = tuple(Layer(name, "", precision) for name, precision in declared.items())
    if not here:
        return _with_products(Ran(), as_declared, goal.precision, path)
    placed = Placed() if goal.target.device not in BY_NODE else placed_nodes(path, goal.target.device)
    ran = Ran(PROVIDERS[goal.target.device], nodes=placed.nodes, elsewhere=placed.elsewhere)
    if {*declared.values()} <= {"fp32"}:  # which no runtime narrows
        return _with_products(ran, as_declared, goal.precision, path)
    layers = session_layers(path, goal.target.device)
    products = tuple(one for one in layers if one.kind in PRODUCTS | INTEGER_PRODUCTS)
    return _with_products(ran, products, goal.precision, path)


def _with_products(ran: Ran, layers: Sequence[Layer], asked: str, graph: Path | None) -> Ran:
    """What ran with its products, of which those that the rules of the export keep otherwise are excused.

    One that a runtime has fused under a new name counts as one of those that are kept and not found by their names.
    """
    kept, known = _kept(graph, asked) if graph is not None else (frozenset[str](), frozenset[str]())
    other = [one.name for one in layers if one.precision != asked]
    unfound = len(kept - {one.name for one in layers})
    excused = {name for name in other if name in kept} | {*[name for name in other if name not in known][:unfound]}
    otherwise = tuple(name for name in other if name not in excused)
    counts = Counter(one.precision for one in layers)
    return replace(ran, products=dict(counts), kept=len(other) - len(otherwise), otherwise=otherwise)


def _kept(graph: Path, asked: str) -> tuple[frozenset[str], frozenset[str]]:
    """The products of a graph that the export has kept in another precision by a rule, and all of them, by their names.

    Of a graph in 8 bits that is all that it has otherwise: what is quantised is what the rules leave.
    """
    from secateur.export.graph_types import declared_precisions, read_graph
    from secateur.export.onnx_info import onnx_info
    from secateur.export.precision import EIGHT_BITS

    declared = declared_precisions(read_graph(graph))
    other = {name for name, precision in declared.items() if precision != asked}
    return frozenset(other if asked in EIGHT_BITS else other & onnx_info(graph).kept.keys()), frozenset(declared)


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
