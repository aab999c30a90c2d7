"""Explainability-aware masks as scores: how much of a unit each class asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from torch import nn

from secateur.pipeline.data.loader import Loader
from secateur.pipeline.scores.registry import Scored, method
from secateur.pipeline.scores.xmask.learn import learn
from secateur.pipeline.scores.xmask.spec import MaskSpec, Smooth
from secateur.pipeline.structure.groups import Groups

DEFAULTS = MaskSpec()


@method("xmask")
def xmask(
    model: nn.Module,
    groups: Groups,
    loader: Loader,
    *,
    seed: int,
    say: Callable[[str], None] = lambda message: None,
    folder: Path | None = None,
    kinds: Sequence[str] = DEFAULTS.kinds,
    epochs: int = DEFAULTS.epochs,
    batch_size: int = DEFAULTS.batch_size,
    lr: float = DEFAULTS.lr,
    sparsity: float = DEFAULTS.sparsity,
    smoothness: float = DEFAULTS.smoothness,
    smooth: Smooth = DEFAULTS.smooth,
    rank: int | None = DEFAULTS.rank,
    precision: str = DEFAULTS.precision,
    checkpoint_steps: int = DEFAULTS.checkpoint_steps,
) -> Scored:
    """Masks on the units' values, learned by class with the model frozen, `[classes, units]` (see `MaskSpec`).

    Step one of X-Pruner (Yu and Xiang, 2023, arXiv 2303.04935): the row of a sample's label multiplies the units.
    Labels are needed here only: plans collapse the classes (`Scores.by_unit`), and what is pruned knows none.
    """
    spec = MaskSpec(
        tuple(kinds), epochs, batch_size, lr, sparsity, smoothness, smooth, rank, precision, checkpoint_steps
    )
    return learn(model, groups, loader, spec, seed, say, folder)
