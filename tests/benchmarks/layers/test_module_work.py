"""A module's work is what it calls itself, without the modules in it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from secateur.benchmarks.flops import count_macs
from secateur.benchmarks.layers.module_work import hook_modules, module_work


class Small(nn.Module):
    """A linear layer, a product of its own, and a view."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Sequential(nn.Linear(6, 4), nn.ReLU())

    def forward(self, rows: Tensor) -> Tensor:
        made: Tensor = self.fc(rows)
        return torch.matmul(made, made.transpose(0, 1))


def test_macs_and_bytes_of_each_module() -> None:
    model, example = Small().eval(), torch.zeros(3, 6)
    found = module_work(model, example, count_macs(model, example))
    assert {name: work.macs for name, work in found.items() if work.macs} == {"fc.0": 3 * 6 * 4, "": 3 * 3 * 4}
    sizes = {"fc.0": 3 * 6 + 6 * 4 + 4 + 3 * 4, "fc.1": 2 * 3 * 4, "": 2 * 3 * 4 + 3 * 3}  # numbers read and written
    assert {name: work.bytes_moved for name, work in found.items() if work.bytes_moved} == {
        name: 4 * size for name, size in sizes.items()
    }
    product = found["fc.0"].product
    assert product is not None and (product.widths, product.shape) == ((6, 4), (6,))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_hooks_enclose_each_call() -> None:
    said: list[str] = []
    model = Small()
    hook_modules(model, lambda name, module, arguments: said.append(name), lambda: said.append("-"))
    model(torch.zeros(3, 6))
    assert said == ["", "fc", "fc.0", "-", "fc.1", "-", "-", "-"]
