"""Regions of autocast and of gradients: written into the graph, between marks that compute nothing."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from secateur.pipeline.structure.graph.program import operation_of
from secateur.pipeline.structure.graph.regions import autocast_of, end_of, gradients, inlined


class Regions(nn.Module):
    """A region that holds a constant and opens another one, and results of both."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 6), nn.Linear(6, 5)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.one(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = self.two(x) * torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
            with torch.autocast("cpu", enabled=False):
                z = y.float().relu()
        return y + 1, z


def program_of(model: nn.Module) -> ExportedProgram:
    with torch.no_grad():
        return inlined(torch.export.export(model, (torch.randn(2, 4),), strict=False))


def test_operations_of_regions_keep_their_order_modules_and_results() -> None:
    torch.manual_seed(0)
    program = program_of(Regions())
    program.graph.lint()  # type: ignore[no-untyped-call]  # PyTorch leaves it untyped
    names = [operation_of(node) for node in program.graph.nodes if node.op == "call_function"]
    kept = [name for name in names if name in ("linear", "autocast_of", "mul", "relu", "end_of", "add")]
    assert kept == ["linear", "autocast_of", "linear", "mul", "autocast_of", "relu", "end_of", "end_of", "add"]
    first, second = (node for node in program.graph.nodes if node.target is autocast_of)
    assert first.args[:3] == ("cpu", torch.bfloat16, True) and second.args[2] is False
    assert [end.args[0] for end in program.graph.nodes if end.target is end_of] == [second, first]
    _, inner = (node for node in program.graph.nodes if operation_of(node) == "linear")
    assert [path for path, _ in inner.meta["nn_module_stack"].values()] == ["", "two"]
    assert [path for path, _ in first.meta["nn_module_stack"].values()] == [""]
    assert not [node for node in program.graph.nodes if node.op == "get_attr"]


def test_gradients_that_are_turned_on_are_a_region_too() -> None:
    class Forces(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            with torch.enable_grad():
                return x * 2

    marks = [node for node in program_of(Forces()).graph.nodes if node.target in (gradients, end_of)]
    assert [(mark.target, mark.args[0]) for mark in marks] == [(gradients, True), (end_of, marks[0])]
    with torch.no_grad(), gradients(True):
        assert torch.is_grad_enabled()


def test_autocast_is_that_of_a_device_type_or_of_a_tensors() -> None:
    for device in ("cpu", torch.zeros(1)):
        with autocast_of(device, torch.bfloat16, True):
            assert torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
    assert not torch.is_autocast_enabled("cpu")
