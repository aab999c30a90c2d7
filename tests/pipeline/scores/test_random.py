"""Random scores: uniform, and decided by the seed alone."""

from __future__ import annotations

import torch
from torch import nn

from secateur.pipeline.scores.score import score
from secateur.pipeline.structure.groups import Groups


def test_random_scores_depend_on_the_seed_only(vit: nn.Module, vit_groups: Groups) -> None:
    name = vit_groups[0].name
    one, other = score(vit, vit_groups, [], "random", seed=0), score(vit, vit_groups, [], "random", seed=1)
    assert not torch.equal(one.values[name], other.values[name])


def test_they_are_uniform_between_zero_and_one(vit: nn.Module, vit_groups: Groups) -> None:
    values = torch.cat([*score(vit, vit_groups, [], "random").values.values()])
    assert values.min() >= 0 and values.max() < 1
    assert (values.sort().values - torch.linspace(0, 1, len(values))).abs().max() < 2 / len(values) ** 0.5
