"""Explainability-aware masks as scores: how much of a unit each class asks for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from torch import nn

from secateur.core.ranges import Range
from secateur.core.say import Say
from secateur.pipeline.data.loader import Batches
from secateur.pipeline.scores.registry import Scored, TrainedMethod, method
from secateur.pipeline.structure.groups import Groups, UnitKind

Smooth = Literal["classes", "units"]
Precision = Literal["no", "bf16", "fp16"]


@method("xmask")
@dataclass(frozen=True)
class XMask(TrainedMethod):
    """Masks on the units' values, learned by class with the model frozen, `[classes, units]`.

    Step one of X-Pruner (Yu and Xiang, 2023, arXiv 2303.04935): the row of a sample's label multiplies the units.
    Labels are needed here only: plans collapse the classes (`Scores.by_unit`), and what is pruned knows none.

    The loss is the cross-entropy, `sparsity` times the squares of the masks and `smoothness` times those of their
    differences, along the classes or the units: the paper's equation can be read both ways. Both are means over classes
    and sums over units.

    >>> scores = sc.score(model, groups, loader, sc.XMask(kinds=("head",), epochs=1))
    >>> list(scores.values)
    ['blocks.0.attn.heads', 'blocks.1.attn.heads']
    """

    kinds: tuple[UnitKind, ...] = ()
    """The kinds of units whose groups get masks; empty for all."""
    epochs: Annotated[int, Range(1)] = 10
    """Passes over the images in which the masks are learned."""
    batch_size: Annotated[int, Range(1)] = 32
    """Images of one step."""
    lr: Annotated[float, Range(0)] = 0.02
    """The learning rate of Adam, which falls to 0."""
    sparsity: Annotated[float, Range(0)] = 3e-3
    """The weight of the masks' squares beside the cross-entropy."""
    smoothness: Annotated[float, Range(0)] = 1e-4
    """The weight of the squares of the masks' differences."""
    smooth: Smooth = "classes"
    """Between what these differences are: from one class to the next, or of second order along the units of a group."""
    rank: Annotated[int, Range(0)] | None = None
    """How many factors share the classes out among the units; null: whole masks (0) unless they would be larger than
    the model.
    """
    precision: Precision = "no"
    """The type that the model is run in."""
    checkpoint_steps: Annotated[int, Range(1)] = 20
    """After how many steps the work is saved, from which a stopped run goes on."""

    comparable: ClassVar[bool] = True

    @property
    def by_class(self) -> bool:
        return True

    def train(
        self, model: nn.Module, groups: Groups, loader: Batches, seed: int, say: Say, folder: Path | None
    ) -> Scored:
        """The masks; see `learn.learn`."""
        from secateur.pipeline.scores.xmask.learn import learn  # it needs Accelerate, which is slow to import

        return learn(model, groups, loader, self, seed, say, folder)
