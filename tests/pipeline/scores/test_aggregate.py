"""The aggregates against their definitions on plain arrays, and class by class."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from secateur.core.errors import PlanError
from secateur.pipeline.scores.aggregate import AGGREGATES, Totals
from secateur.pipeline.scores.score import score
from secateur.pipeline.structure.groups import Group, Groups, Site

SITE = Site("layer", "input", -1, (0, 1, 1, -1))


def groups() -> Groups:
    return Groups((Group("g", "mlp_hidden", 2, (), (SITE,)),), (), (), {}, frozenset(), (3,))


@pytest.mark.parametrize("aggregate", AGGREGATES)
@pytest.mark.parametrize("per_class", [False, True])
def test_an_aggregate_is_its_definition(aggregate: str, per_class: bool) -> None:
    values, labels = torch.randn(6, 5, 4).double(), torch.tensor([0, 2, 2, 0, 2, 2])
    totals = Totals(groups(), aggregate, per_class)
    for part in (slice(0, 2), slice(2, 6)):
        totals.add(lambda key, part=part: values[part], labels[part], 3)
    rows: list[list[Tensor]] = [[] for _ in range(3 if per_class else 1)]
    for sample, label in zip(values, labels.tolist(), strict=True):
        inner = sample.abs() if aggregate == "absolute_before" else sample
        units = torch.stack([inner[:, 0].sum(), inner[:, 1:3].sum()])
        rows[label if per_class else 0].append(units.abs() if aggregate == "absolute_after" else units)
    expected = torch.stack([torch.stack(row).mean(0) if row else torch.zeros(2).double() for row in rows])
    expected = expected.abs() if aggregate == "absolute_mean" else expected
    torch.testing.assert_close(totals.means()["g"], (expected if per_class else expected[0]).float())


@pytest.mark.parametrize("method", ["lrp", "integrated_gradients"])
def test_class_wise_scores_are_those_of_the_class_alone(
    method: str, vit: nn.Module, vit_groups: Groups, batches: list[tuple[Tensor, Tensor]]
) -> None:
    found = score(vit, vit_groups, batches, method, per_class=True, aggregate="signed").values
    only = [(x[y == 2], y[y == 2]) for x, y in batches if (y == 2).any()]
    alone = score(vit, vit_groups, only, method, aggregate="signed").values
    for name, value in found.items():
        assert value.shape == (5, vit_groups.named(name).units)
        torch.testing.assert_close(value[2], alone[name], rtol=1e-3, atol=1e-6)


def test_an_unknown_aggregate_is_refused() -> None:
    with pytest.raises(PlanError, match="did you mean 'absolute_after'"):
        Totals(groups(), "absolute_aftr", False)
