"""Relevance scores: how much of the logit layer-wise relevance propagation assigns to a unit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from secateur.pipeline.data.loader import Loader
from secateur.pipeline.scores.aggregate import Totals
from secateur.pipeline.scores.lrp.composite import Composite, find_composite
from secateur.pipeline.scores.lrp.relevance import relevances
from secateur.pipeline.scores.registry import Scored, method
from secateur.pipeline.statistics.capture import all_sites
from secateur.pipeline.structure.groups import Groups


@method("lrp")
def lrp(
    model: nn.Module,
    groups: Groups,
    loader: Loader,
    *,
    seed: int,
    composite: str | Path | Mapping[str, Any] | Composite = "epsilon",
    aggregate: str | None = None,
    per_class: bool = False,
    target: str = "label",
) -> Scored:
    """The mean over samples of a unit's relevance, summed over tokens or space, `[units]` or `[classes, units]`.

    Pruning by eXplaining (Hatefi et al., 2024, arXiv 2408.12568). `composite` names the rules (`composite.NAMED`) or
    a file that `secateur score --search` wrote, `aggregate` where the absolute value is taken (`AGGREGATES`; the
    composite's own by default), and `target` the logit explained. One forward and one backward pass for each batch
    score all groups. A composite with `attention: cp` sends no relevance to queries and keys: their dims all score
    zero.
    """
    rules = find_composite(composite)
    totals = Totals(groups, aggregate or rules.aggregate, per_class)
    for batch in relevances(model, loader, all_sites(groups), rules, target):
        totals.add(batch.at.__getitem__, batch.classes, batch.logits.shape[1])
    return totals.means()
