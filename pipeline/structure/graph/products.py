"""Notes which products are linear layers by a parameter or a part of it, and by which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx

from secateur.pipeline.structure.graph.program import hint_of, lengths
from secateur.pipeline.structure.graph.rules import Call
from secateur.pipeline.structure.graph.trace import Product, Trace
from secateur.pipeline.structure.graph.value import Value, compressed, dims_of
from secateur.pipeline.structure.layer_form import LayerForm, alike_along, layer_form
from secateur.pipeline.structure.samples import FIRST, Samples


def note_products(trace: Trace, call: Call, nodes: Sequence[Any], labels: Sequence[Sequence[str]]) -> None:
    """Notes a product of two nodes, whose dimensions and, at last, those of its result are called `labels`.

    Of two parameters, as learned queries times a weight, the second is the weight.
    """
    first, second, result = labels
    order = (*nodes, first, second), (*reversed(nodes), second, first)
    x, weight, reads, makes = next((found for found in order if trace.parameter_of(found[1])), order[0])
    found = _view_of(weight) if trace.parameter_of(weight) else None
    form = layer_form(reads, makes, result, alike_along(found[1])) if found else None
    if found is None or form is None or not isinstance(x, fx.Node):
        return
    parameter, part = found
    view = form.view(part, parameter)
    whole = view.rows == 1 and view.sizes == parameter.shape and view.strides == parameter.stride()
    samples = _samples(trace.places.get(x, FIRST), form)
    if samples is not None:
        product = Product(call.module, None if whole else view, *_labels(trace.values[weight], form), samples)
        trace.products.setdefault(trace.parameter_of(weight), []).append(product)


def _view_of(node: fx.Node) -> tuple[Tensor, Tensor] | None:
    """A parameter and the view of it that a node is, without numbers; None where the node holds a copy."""
    if node.op == "placeholder":
        value = node.meta["val"]
        parameter = torch.empty_strided(lengths(value), value.stride(), device="meta")
        return parameter, parameter
    source: Any = node.args[0]
    before = _view_of(source)
    if before is None:
        return None
    parameter, whole = before
    args = fx.map_arg(node.args[1:], lambda other: hint_of(other.meta["val"]))
    kwargs = fx.map_arg(node.kwargs, lambda other: hint_of(other.meta["val"]))
    target: Any = node.target
    part = target(whole, *args, **kwargs)
    parts = part if isinstance(part, (tuple, list)) else (part,)
    return (parameter, part) if all(one is parameter or one._base is parameter for one in parts) else None


def _labels(value: Value, form: LayerForm) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """The labels along the rows and along the columns of a weight; what changes along both is left out."""
    rows: list[Tensor] = []
    columns: list[Tensor] = []
    for labels in value.maps:
        matrix = compressed(form.matrix(labels.expand(value.shape)))
        if len(dims_of(matrix)) == 1:
            (rows if matrix.shape[0] > 1 else columns).append(matrix.reshape(-1))
    return tuple(rows), tuple(columns)


def _samples(samples: Samples, form: LayerForm) -> Samples | None:
    """Where the samples lie in what the layer reads; None where it reads several at once."""
    place = form.samples_at(samples.dim)
    return None if place is None else Samples(place, samples.apart)
