"""Products of graphs are matched with the operations that groups count."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from secateur.core.errors import PlanError
from secateur.export.quantize.graph_edit import read_program
from secateur.export.quantize.product_macs import product_macs
from secateur.export.to_onnx import export_onnx
from secateur.pipeline.plan.graph_terms import terms_of_graph, terms_of_products
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Groups
from secateur.pipeline.structure.plan import Plan
from secateur.pipeline.structure.surgery import prune

pytest.importorskip("onnxruntime")


def convolution() -> nn.Module:
    return nn.Conv2d(8, 8, 3, padding=1)


class Stages(nn.Module):
    """Convolutions of equal size, whose normalisations an exporter fuses with them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.stem = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.blocks = nn.ModuleList(
            nn.ModuleDict(
                {"a": nn.Conv2d(8, 8, 3, padding=1), "b": nn.BatchNorm2d(8), "c": nn.Conv2d(8, 8, 3, padding=1)}
            )
            for _ in range(2)
        )
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(self.first(x)).relu()
        for block in self.blocks:
            x = x + block["c"](block["b"](block["a"](x)).relu())
        return self.head(x.mean((2, 3)))


def test_convolutions_that_took_their_normalisation_in(tmp_path: Path) -> None:
    model = Stages().eval()
    groups = find_groups(model, torch.zeros(1, 3, 8, 8))
    program = read_program(export_onnx(model, tmp_path / "model.onnx", input_shape=(3, 8, 8)).path)
    macs = product_macs(program, [{"input": torch.zeros(1, 3, 8, 8).numpy()}])
    modules = {str(node.name): node.metadata_props.get("module", "") for node in program.graph}
    found = terms_of_products(groups, {}, macs, modules)
    assert list(found.values()) == ["first", "blocks.0.a", "blocks.0.c", "blocks.1.a", "blocks.1.c", "head"]


def test_both_products_of_attention_and_narrower_ones(vit_groups: Groups) -> None:
    kept = {"blocks.0.mlp.hidden": range(96)}
    macs = {term.name: term.count(kept) for term in reversed(vit_groups.terms)}
    modules = {name: name.removesuffix(".logits").removesuffix(".values") for name in macs}
    order = [name for name in macs if not name.endswith((".logits", ".values"))]
    order += [term.name for term in vit_groups.terms if term.name.endswith((".logits", ".values"))]
    found = terms_of_products(vit_groups, kept, {name: macs[name] for name in order}, modules)
    assert found == {name: name for name in macs}
    with pytest.raises(PlanError, match=r"has .* MACs, which no operation of the model has"):
        terms_of_products(vit_groups, {}, macs, modules)


def test_heads_of_different_widths_are_parts_of_one_operation_each(vit_groups: Groups) -> None:
    """The graph has two products for each width: the logits and the values of the heads that have it."""
    macs = {term.name: term.count({}) for term in vit_groups.terms}
    logits, values = macs.pop("blocks.0.attn.logits"), macs.pop("blocks.0.attn.values")
    modules = {name: name.removesuffix(".logits").removesuffix(".values") for name in macs}
    parts = {f"{part} {turn}": part for turn in (1, 2) for part in ("logits", "values")}
    order = {"logits 1": logits / 4, "values 1": values / 2, "logits 2": 3 * logits / 4, "values 2": values / 2}
    inside = dict.fromkeys(parts, "blocks.0.attn")
    expected = {node: f"blocks.0.attn.{part}" for node, part in parts.items()}
    found = terms_of_products(vit_groups, {}, {**macs, **order}, {**modules, **inside})
    assert {node: found[node] for node in parts} == expected
    one_by_one = {node: order[node] for node in sorted(order)}
    found = terms_of_products(vit_groups, {}, {**one_by_one, **macs}, {**modules, **inside})
    assert {node: found[node] for node in parts} == expected
    for wrong in ({**order, "logits 1": logits}, {**order, "values 3": values / 2}):
        with pytest.raises(PlanError, match=r"product \w+ 1 of blocks\.0\.attn has .* MACs, which no operation"):
            terms_of_products(vit_groups, {}, {**macs, **wrong}, {**modules, **dict.fromkeys(wrong, "blocks.0.attn")})


def test_graphs_of_models_with_uneven_heads_and_of_models_pruned_to_them(
    vit: nn.Module, vit_groups: Groups, tmp_path: Path
) -> None:
    units = next(group.units for group in vit_groups if group.name == "blocks.0.attn.qk")
    kept = {f"blocks.0.attn.{kind}": tuple(range(units - 2)) for kind in ("qk", "v")}
    plan = Plan(kept=kept, fingerprint=vit_groups.fingerprint(), inputs=vit_groups.inputs)
    small, image = prune(vit.eval(), plan, vit_groups), torch.zeros(1, 3, 16, 16)
    program = read_program(export_onnx(small, tmp_path / "model.onnx", input_shape=(3, 16, 16)).path)
    feeds = {str(program.graph.inputs[0].name): image.numpy()}
    found = terms_of_graph(program, [feeds], vit_groups, kept)
    assert list(found.values()).count("blocks.0.attn.logits") == list(found.values()).count("blocks.0.attn.values") == 2
    again = find_groups(small, image)
    found = terms_of_graph(program, [feeds], again, {})
    assert sorted(found.values()) == sorted(term.name for term in again.terms)
    assert {"blocks.0.attn", "blocks.0.attn#2", "blocks.0.attn#4"} <= set(found.values())
