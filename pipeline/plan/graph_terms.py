"""Which product of an exported graph is which operation of the model, as its groups count them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
    like its module's. Raises `PlanError` for a product that is no term.
    """
    rest = {term.name: term.count(kept) for term in groups.terms}
    found: dict[str, str] = {}
    for node, count in macs.items():
        module = modules.get(node, "")
        fitting = [(_alike(name, module), name) for name, terms in rest.items() if abs(terms - count) <= NEAR * count]
        if not fitting:
            raise PlanError(
                f"the product {node} of {module or 'the graph'} has {count:g} MACs, which no operation of the model "
                "has: plan by macs, and limit the loss by export.max_drop"
            )
        found[node] = max(fitting, key=itemgetter(0))[1]  # the first of equals
        del rest[found[node]]
    return found


def _alike(one: str, other: str) -> int:
    """How many first parts of two names are the same."""
    pairs = zip(one.split("."), other.split("."), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
