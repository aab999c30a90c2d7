"""Parts of batches: all samples in order, as many at a time as the memory allows."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from secateur.pipeline.statistics import parts
from secateur.pipeline.statistics.parts import LEAST, Parts


def test_the_first_part_shows_how_many_samples_the_memory_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tanh holds its output, 40 bytes a sample; the weight of the layer does not count."""
    model = nn.Sequential(nn.Linear(3, 10), nn.Tanh()).requires_grad_(False)
    batches = [({"x": torch.randn(n, 3), "table": torch.zeros(2)}, None) for n in (30, 9)]
    for held, size in ((12 * 40, 12), (39 * 40 + 39, 39), (40, LEAST)):
        monkeypatch.setattr(parts, "HELD_BYTES", held)
        found = Parts(model, batches)
        seen, counts = [], []
        for part in found:
            x = part["x"].clone().requires_grad_()
            y = found.run(len(x), lambda x=x: model(x))  # type: ignore[misc]  # x is bound
            (gradient,) = torch.autograd.grad(y.sum(), x)
            torch.testing.assert_close(gradient, (1 - y**2) @ model[0].weight)
            seen.append(part["x"])
            counts.append(len(x))
            assert part["table"].shape == (2,)
        assert torch.equal(torch.cat(seen), torch.cat([batch["x"] for batch, _ in batches]))
        assert found.size == size
        assert counts[0] == LEAST
        assert max(counts) == min(size, 22)
