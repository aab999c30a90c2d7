"""Which product of an exported graph is which operation of the model, as its groups count them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from operator import itemgetter
from typing import TYPE_CHECKING

from secateur.core.errors import PlanError
from secateur.export.quantize.observe import Arrays
from secateur.export.quantize.product_macs import product_macs, product_modules
from secateur.pipeline.structure.groups import Groups, Kept

if TYPE_CHECKING:
    import onnx_ir as ir

NEAR = 1e-6
"""MACs that differ by no more than this share are the same."""


def terms_of_graph(program: ir.Model, batches: Iterable[Arrays], groups: Groups, kept: Kept) -> dict[str, str]:
    """The same as `terms_of_products`, for the graph of the model with the `kept` units, run on the first batch."""
    return terms_of_products(groups, kept, product_macs(program, batches), product_modules(program))


def terms_of_products(
    groups: Groups, kept: Kept, macs: Mapping[str, float], modules: Mapping[str, str]
) -> dict[str, str]:
    """For each product of a graph, by its node's name, the name of the term that it is.

    `macs` are those of `product_macs` for the model with the `kept` units, in the order of the graph, `modules` the
    modules that its nodes come from. A product is the first term that has its MACs, of those whose names begin most
    like its module's. Heads that differ in width are products of their own: those of a module that are no terms are
    parts of its terms, as `_shared` says. Raises `PlanError` for a product that is neither.
    """
    rest = {term.name: term.count(kept) for term in groups.terms}
    found: dict[str, str] = {}
    parts: dict[str, list[str]] = {}
    for node, count in macs.items():
        module = modules.get(node, "")
        fitting = [(_alike(name, module), name) for name, terms in rest.items() if _equal(terms, count)]
        if fitting:
            found[node] = max(fitting, key=itemgetter(0))[1]  # the first of equals
            del rest[found[node]]
        else:
            parts.setdefault(module, []).append(node)
    for module, nodes in parts.items():
        inside = {name: terms for name, terms in rest.items() if f"{name}.".startswith((f"{module}.", f"{module}#"))}
        shared = _shared([macs[node] for node in nodes], inside)
        if shared is None:
            raise PlanError(
                f"the product {nodes[0]} of {module or 'the graph'} has {macs[nodes[0]]:g} MACs, which no operation of "
                "the model has: plan by macs, and limit the loss by export.max_drop"
            )
        found |= dict(zip(nodes, shared, strict=True))
    return {node: found[node] for node in macs}


def _shared(parts: Sequence[float], terms: Mapping[str, float]) -> list[str] | None:
    """The term that each part is of, where the parts of the terms come in turns (the logits and the values of one head
    after those of another) or one term's after the other's, and add up to the terms; None where neither is so.
    """
    names, turns = list(terms), len(parts) // max(len(terms), 1)
    if not names or len(parts) != turns * len(names):
        return None
    for order in ([*names] * turns, [name for name in names for _ in range(turns)]):
        sums = dict.fromkeys(names, 0.0)
        for name, part in zip(order, parts, strict=True):
            sums[name] += part
        if all(_equal(sums[name], terms[name]) for name in names):
            return order
    return None


def _equal(one: float, other: float) -> bool:
    """Whether two counts of MACs are the same, but for rounding."""
    return abs(one - other) <= NEAR * other


def _alike(one: str, other: str) -> int:
    """How many first parts of two names are the same."""
    pairs = zip(one.split("."), other.split("."), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
