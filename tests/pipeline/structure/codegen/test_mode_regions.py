"""Regions that a mode decides on: for each step those that it lies in, with the mode that they belong to."""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn

from secateur.pipeline.structure.codegen.body import Body
from secateur.pipeline.structure.codegen.mode_regions import Region, regions_by_mode
from secateur.pipeline.structure.graph.program import operation_of
from secateur.pipeline.structure.graph.regions import autocast_of, gradients, inlined

CAST = ("cpu", torch.bfloat16, True, None)


class Regions(nn.Module):
    """Autocast in training only, and no gradients in both modes."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.training):
            x = x.relu()
        with torch.no_grad():
            x = x.sin()
        return x.cos()


def body(training: bool) -> Body:
    with torch.enable_grad():
        program = inlined(torch.export.export(Regions().train(training), (torch.ones(2, 3),), strict=False))
    return Body([node for node in program.graph.nodes if node.op == "call_function"], 1, (), (), {})


def steps(found: Body) -> list[fx.Node]:
    return [node for node in found.steps if isinstance(node, fx.Node)]


def test_each_step_knows_its_regions_and_their_modes() -> None:
    own, whole = body(True), body(False)
    partners = dict(zip(steps(own), steps(whole), strict=True))
    found = {operation_of(node): regions for node, regions in regions_by_mode(own, whole, partners).items()}
    cast = found["relu"][0]
    assert (cast.target, cast.args[:3], cast.training) == (autocast_of, CAST[:3], True)
    off = found["relu"][1]
    assert (off.target, off.args[2], off.training) == (autocast_of, False, False)
    assert found["sin"] == (Region(gradients, (False,)),)
    assert found["cos"] == ()


def test_regions_of_both_modes_need_no_telling() -> None:
    own = body(True)
    assert regions_by_mode(own, own, {node: node for node in steps(own)}) == {}
