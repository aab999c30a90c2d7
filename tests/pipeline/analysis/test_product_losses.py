"""What one operation alone costs in 8 bits, beside rounding it by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from secateur.export.quantize.spec import Quantization
from secateur.export.to_onnx import export_onnx
from secateur.pipeline.analysis.product_losses import product_losses, wide_products
from secateur.pipeline.plan.budget import Budget
from secateur.pipeline.plan.make import make_plan
from secateur.pipeline.scores.score import Scores
from secateur.pipeline.structure.groups import Groups
from secateur.pipeline.structure.surgery import prune

pytest.importorskip("onnxruntime")
Batches = list[tuple[Tensor, Tensor]]
PLAIN = Quantization(rule="minmax", balance=0, correct=False, ends=True, rest="fp32")


def rounded(values: Tensor, reach: Tensor) -> Tensor:
    return (values / (reach / 127)).round().clamp(-127, 127) * (reach / 127)


def test_the_loss_is_that_of_rounding_one_layer(vit: nn.Module, vit_groups: Groups, batches: Batches) -> None:
    found = product_losses(vit, vit_groups, batches, batches, options=PLAIN)
    terms = {term.name for term in vit_groups.terms}
    assert "blocks.0.mlp.fc1" in found and set(found) <= terms
    layer = vit.get_submodule("blocks.0.mlp.fc1")
    seen: list[Tensor] = []
    with torch.no_grad():
        handle = layer.register_forward_pre_hook(lambda _m, args: seen.append(args[0]))
        images = torch.cat([one for one, _ in batches])
        dense = vit(images).log_softmax(1)
        handle.remove()
        measuring = seen[0][torch.arange(len(images)) % 4 != 3]
        weight = layer.weight.clone()
        layer.weight.copy_(rounded(weight, weight.abs().amax(1, keepdim=True)))
        handle = layer.register_forward_pre_hook(lambda _m, args: (rounded(args[0], measuring.abs().max()),))
        other = vit(images).log_softmax(1)
        handle.remove()
        layer.weight.copy_(weight)
    expected = float((dense.exp() * (dense - other)).sum(1).mean())
    assert found["blocks.0.mlp.fc1"] == pytest.approx(abs(expected), rel=0.1)


def test_what_a_plan_has_in_fp32_is_named_in_its_graph(
    vit: nn.Module, vit_groups: Groups, batches: Batches, tmp_path: Path
) -> None:
    scores = Scores({group.name: torch.rand(group.units) for group in vit_groups}, "x")
    plan = make_plan(vit_groups, scores, Budget(macs=0.7), kinds=("mlp_hidden",))
    assert plan.facts is not None
    wide = {"head", "blocks.1.attn.values"}
    narrow = {term.name: "int8" for term in vit_groups.terms if term.name not in wide}
    plan = replace(plan, facts=replace(plan.facts, precisions=narrow))
    path = export_onnx(prune(vit, plan, vit_groups), tmp_path / "small.onnx", input_shape=(3, 16, 16)).path
    found = wide_products(vit_groups, plan, path, batches)
    assert len(found) == 2
    assert wide_products(vit_groups, replace(plan, facts=None), path, batches)[-1:] == found[-1:]
