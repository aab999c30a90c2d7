"""Relevance scores: how much of the logit layer-wise relevance propagation assigns to a unit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from secateur.pipeline.data.loader import Batches
from secateur.pipeline.scores.aggregate import Aggregate, Totals
from secateur.pipeline.scores.lrp.composite import Composite, find_composite
from secateur.pipeline.scores.lrp.relevance import Target, relevances
from secateur.pipeline.scores.registry import Scored, ScoreMethod, method
from secateur.pipeline.statistics.capture import all_sites
from secateur.pipeline.structure.groups import Groups


@method("lrp")
@dataclass(frozen=True)
class Lrp(ScoreMethod):
    """The mean over samples of a unit's relevance, summed over tokens or space, `[units]` or `[classes, units]`.

    Pruning by eXplaining (Hatefi et al., 2024, arXiv 2408.12568). A composite (`composite.NAMED`) with `attention: cp`
    sends no relevance to queries and keys: their dims all score zero.

    >>> scores = sc.score(model, groups, loader, sc.Lrp(composite="gamma", per_class=True))
    >>> scores.values["blocks.0.mlp.hidden"].shape
    torch.Size([5, 192])
    """

    composite: str | Path | Mapping[str, Any] | Composite = "epsilon"
    """The rules by layer type and depth: a name such as `epsilon`, rules of one's own, or a file that `secateur score
    --search` wrote.
    """
    aggregate: Aggregate | None = None
    """Where the absolute value is taken: nowhere, before or after the sum over tokens or space, or of the mean; null:
    the composite's own.
    """
    per_class: bool = False
    """Whether units are scored for each class, `[classes, units]`."""
    target: Target = "label"
    """The logit that is explained."""

    def __post_init__(self) -> None:
        super().__post_init__()
        find_composite(self.composite)

    @property
    def by_class(self) -> bool:
        return self.per_class

    def score(self, model: nn.Module, groups: Groups, loader: Batches, seed: int) -> Scored:
        """One forward and one backward pass for each batch score all groups."""
        rules = find_composite(self.composite)
        totals = Totals(groups, self.aggregate or rules.aggregate, self.per_class)
        for batch in relevances(model, loader, all_sites(groups), rules, self.target):
            totals.add(batch.at.__getitem__, batch.classes, batch.logits.shape[1])
        return totals.means()
