"""How masks are learned: the options of the `xmask` score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from secateur.pipeline.errors import PlanError, near_matches
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
    checkpoint_steps: int = 50

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch_size", 1), ("rank", 0), ("checkpoint_steps", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise PlanError(f"xmask got {name} = {value}, but needs {least} or more")
        for name in ("lr", "sparsity", "smoothness"):
            if not getattr(self, name) >= 0:
                raise PlanError(f"xmask got {name} = {getattr(self, name)}, but needs 0 or more")
        words = (("smooth", self.smooth, SMOOTH), ("precision", self.precision, PRECISIONS))
        for name, word, allowed in (*words, *(("kinds", kind, KINDS) for kind in self.kinds)):
            if word not in allowed:
                hint = near_matches(word, allowed)
                raise PlanError(f"xmask got {name} = {word!r}, but needs one of {', '.join(allowed)}{hint}")
