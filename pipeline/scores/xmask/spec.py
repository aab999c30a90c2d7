"""How masks are learned: the options of the `xmask` score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from secateur.core.errors import PlanError, near_matches
from secateur.core.ranges import Range, check_ranges
from secateur.pipeline.structure.groups import KINDS

Smooth = Literal["classes", "units"]
SMOOTH: tuple[Smooth, ...] = get_args(Smooth)
PRECISIONS = ("no", "bf16", "fp16")


@dataclass(frozen=True)
class MaskSpec:
    """Masks for the groups of `kinds` (none: all), learned for `epochs` over the images by Adam, `lr` falling to 0.

    The loss is the cross-entropy, `sparsity` times the squares of the masks and `smoothness` times those of their
    differences, from one class to the next (`smooth` is `classes`) or of second order along the `units` of a group:
    the paper's equation can be read both ways. Both are means over classes and sums over units. `rank` factors share
    the classes out among the units; without it masks are whole (rank 0) unless they would be larger than the model.
    """

    kinds: tuple[str, ...] = ()
    epochs: int = 10
    batch_size: int = 32
    lr: float = 0.02
    sparsity: float = 3e-3
    smoothness: float = 1e-4
    smooth: Smooth = "classes"
    rank: int | None = None
    precision: str = "no"
    checkpoint_steps: int = 20

    def __post_init__(self) -> None:
        ranges = {name: Range(1) for name in ("epochs", "batch_size", "checkpoint_steps")}
        ranges |= {name: Range(0) for name in ("lr", "sparsity", "smoothness")}
        check_ranges(self, "xmask", ranges | ({} if self.rank is None else {"rank": Range(0)}), PlanError)
        words = (("smooth", self.smooth, SMOOTH), ("precision", self.precision, PRECISIONS))
        for name, word, allowed in (*words, *(("kinds", kind, KINDS) for kind in self.kinds)):
            if word not in allowed:
                hint = near_matches(word, allowed)
                raise PlanError(f"xmask got {name} = {word!r}, but needs one of {', '.join(allowed)}{hint}")
