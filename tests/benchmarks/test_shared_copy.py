"""A twin with the same tensors and modules of its own."""

from __future__ import annotations

import torch
from torch import nn

from secateur.benchmarks.shared_copy import shared_copy


def test_tensors_are_shared_and_modules_are_not() -> None:
    tied = nn.Linear(3, 3)
    model = nn.Sequential(tied, nn.BatchNorm1d(3), tied).train()
    twin = shared_copy(model)
    own = dict(model.named_parameters()) | dict(model.named_buffers())
    assert all(tensor is own[name] for name, tensor in (*twin.named_parameters(), *twin.named_buffers()))
    assert twin[0] is twin[2]
    assert {id(module) for module in twin.modules()}.isdisjoint(id(module) for module in model.modules())
    assert model.training
    assert not twin.training
    assert torch.equal(twin(torch.ones(2, 3)), model.eval()(torch.ones(2, 3)))
