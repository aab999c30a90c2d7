"""What fixing units at their means costs: against its definition, image by image and unit by unit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from secateur.core.errors import DataError
from secateur.pipeline.statistics.capture import observed
from secateur.pipeline.statistics.removal_costs import removal_costs
from secateur.pipeline.structure.groups import Group, Site
from secateur.pipeline.tasks.regress import Regress

SITES = (Site("0", "output", 1, (0, 1, -1, 2, 0)), Site("2", "input", 1, (2, 1, 0, -1, -1)))
"""Units at several positions and places, and positions of none."""
GROUP = Group("units", "channel", 3, (), SITES)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv1d(2, 5, 3), nn.Tanh(), nn.Conv1d(5, 4, 2), nn.Flatten(), nn.Linear(16, 3)).eval()


def test_it_is_the_quadratic_form_of_the_fisher_information() -> None:
    model, images = network(), torch.randn(6, 2, 7)
    batches = [(images[:4], None), (images[4:], None)]
    found = removal_costs(model, [GROUP], batches, 3, Regress())["units"]

    draws = np.random.default_rng(3)
    noise = torch.cat([torch.from_numpy(draws.standard_normal((count, 3))).float() for count in (4, 2)])
    seen = []
    with observed(model, SITES) as values:
        for image, part in zip(images, noise, strict=True):
            outputs = model(image[None].requires_grad_())
            kept = [values[site.key] for site in SITES]
            seen.append((kept, torch.autograd.grad((outputs * part).sum(), kept)))
    expected = torch.zeros(3, dtype=torch.float64)
    for kept, slopes in seen:
        change = torch.zeros(3, dtype=torch.float64)
        for place, site in enumerate(SITES):
            for position, unit in enumerate(site.units):
                if unit >= 0:
                    mean = torch.stack([every[place][0, position] for every, _ in seen]).mean()
                    x = kept[place][0, position] - mean
                    change[unit] += (x * slopes[place][0, position]).sum().double()
        expected += change.square() / (2 * len(images))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-10)


def test_no_images_are_refused() -> None:
    with pytest.raises(DataError, match="no images to gather statistics from"):
        removal_costs(network(), [GROUP], [], 0, Regress())
