"""The groups of a model: everything that can be removed from it, and everything that cannot, with the reason."""

from __future__ import annotations

from dataclasses import replace

from timm.layers import Attention
from torch import nn

from secateur.core.errors import ModelError
from secateur.core.input_spec import InputSpec
from secateur.core.model_inputs import ModelInputs
from secateur.pipeline.structure.canonical import canonical
from secateur.pipeline.structure.codegen.traced_model import TracedModel
from secateur.pipeline.structure.cost import layer_terms
from secateur.pipeline.structure.graph.build_groups import build_groups
from secateur.pipeline.structure.graph.components import components_of
from secateur.pipeline.structure.graph.heads import with_heads
from secateur.pipeline.structure.graph.program import SAMPLES
from secateur.pipeline.structure.graph.terms import norms_of, terms_of, told_apart
from secateur.pipeline.structure.graph.tracer import trace_model
from secateur.pipeline.structure.graph.ungrouped import ungrouped
from secateur.pipeline.structure.groups import Fixed, Group, Groups, Term
from secateur.pipeline.structure.verify_groups import verify_groups
from secateur.pipeline.structure.vit import attention_groups, is_mlp

TOLD = 2
"""How many reasons an error tells."""


def find_groups(model: nn.Module, example_input: ModelInputs, verify: bool = True) -> Groups:
    """All groups of `model`, with what its operations cost on one sample of `example_input`.

    That is a tensor `[B, ...]`, a tuple of what the model takes by position, or a dictionary of what it takes by
    keyword, nested too; tensors without a row for each sample go in whole. The model is traced once, in evaluation
    mode, and left as it was. With `verify`, some units of every group are then removed, and groups that the model's
    own code cannot do without are reported as fixed. Raises `ModelError` when nothing in it can be removed.

    >>> [(group.name, group.units) for group in sc.find_groups(model, example) if group.kind == "head"]
    [('blocks.0.attn.heads', 3), ('blocks.1.attn.heads', 3)]
    """
    found = _looked_at(model, example_input, verify)
    if not found.groups:
        raise ModelError(f"nothing can be removed from this {type(model).__name__}: {_why(found.fixed)}")
    return found


def _why(fixed: tuple[Fixed, ...]) -> str:
    """The `TOLD` reasons that keep most units, in a sentence, each with the first of what it keeps."""
    if not fixed:
        return "it has no layer between two others"
    kept: dict[str, list[Fixed]] = {}
    for one in fixed:
        kept.setdefault(one.reason, []).append(one)
    most = sorted(kept, key=lambda reason: -sum(one.units for one in kept[reason]))
    told = []
    for reason in most[:TOLD]:
        first, *others = kept[reason]
        told.append(f"{first.name}{f' and {len(others)} more' if others else ''} cannot, since {reason}")
    rest = f"; find_fixed tells the rest ({len(most) - TOLD})" if len(most) > TOLD else ""
    return "; ".join(told) + rest


def find_fixed(model: nn.Module, example_input: ModelInputs) -> tuple[Fixed, ...]:
    """What cannot be removed from `model`, with the reasons; also of a model from which nothing can.

    >>> from torch import nn
    >>> layers = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Softmax(1), nn.Flatten(), nn.Linear(288, 5))
    >>> sc.find_fixed(layers, torch.zeros(1, 3, 8, 8))
    (Fixed(name='0.channels', kind='channel', units=8, reason='1: softmax runs over it'),)
    """
    return _looked_at(model, example_input, verify=True).fixed


def _looked_at(model: nn.Module, example_input: ModelInputs, verify: bool) -> Groups:
    """All groups, which may be none, and all that is fixed."""
    model = canonical(model)
    trace = trace_model(model, example_input)
    components = components_of(trace)
    attentions = {name: module for name, module in model.named_modules() if isinstance(module, Attention)}
    reuse = {
        cost.module: cost.macs / SAMPLES / model.get_parameter(f"{cost.module}.weight").numel()
        for cost in trace.costs
        if cost.module.rpartition(".")[0] in attentions
    }
    attentions = {name: module for name, module in attentions.items() if f"{name}.qkv" in reuse}
    found = with_heads(model, trace, components, build_groups(model, trace, components, leave=tuple(attentions)))
    groups: list[Group] = [_may_go(model, group) for group in found.groups]
    fixed: list[Fixed] = list(found.fixed)
    extra: list[Term] = []
    norms = norms_of(trace, components, found)
    left = ungrouped(trace, components, found.units)
    for name, module in attentions.items():
        own = attention_groups(name, module, reuse[f"{name}.qkv"], trace.norms)
        groups += own.groups
        fixed += own.fixed
        extra += own.terms
        norms.update(own.norms)
        for place in components.at if own.fixed else ():
            if place[0].startswith(f"{name}."):
                left.setdefault(place, own.fixed[0].reason)
    order = {name: index for index, name in enumerate(trace.tensors)}
    groups.sort(key=lambda group: min(order[part.tensor] for part in group.slices))
    shapes = {name: tuple(int(size) for size in found.shape) for name, found in model.state_dict().items()}
    for name, dims in trace.tensors.items():
        shapes.setdefault(name, tuple(1 if labels is None else len(labels) for labels in dims))
    parameters = frozenset(key for key, _ in model.named_parameters())
    inputs = InputSpec.of(example_input)
    traced = TracedModel(trace, components, found.units)
    result = Groups(tuple(groups), tuple(fixed), (), shapes, parameters, inputs, norms, ungrouped=left, traced=traced)
    inside = tuple(f"{name}." for name in attentions)
    terms = [
        *(term for term in terms_of(trace, components, found.units) if not f"{term.name}.".startswith(inside)),
        *layer_terms(model, {layer: n for layer, n in reuse.items() if layer.startswith(inside)}, result.axes),
        *extra,
    ]
    result = replace(result, terms=told_apart(terms), uncounted=tuple(trace.uncounted))
    return verify_groups(model, result) if verify and groups else result


def _may_go(model: nn.Module, group: Group) -> Group:
    """A group of an MLP whose units may all go, since the branch then becomes a constant."""
    name = group.name.removesuffix(".hidden")
    if group.kind == "mlp_hidden" and name in dict(model.named_modules()) and is_mlp(model.get_submodule(name)):
        return replace(group, min_units=0)
    return group
