"""How two models answered the same images, and the interval of the difference between their shares of right answers.

The interval is Tango's (Statistics in Medicine 17, 1998, equations 6 to 8): all differences that the score test does
not reject. Its test of no difference is McNemar's, which looks at the images on which both sides differ alone, and it
holds its level where these are few, as the plain interval and Agresti and Min's do not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

from secateur.core.errors import BenchError


@dataclass(frozen=True)
class Pairs:
    """Of `images`, those that the dense side has `right`, that it alone has (`lost`), and the pruned one alone (`won`).

    Raises `BenchError` for counts that no table has.
    """

    images: int
    right: int
    lost: int
    won: int

    def __post_init__(self) -> None:
        if not (0 <= self.lost <= self.right <= self.images and 0 <= self.won <= self.images - self.right):
            raise BenchError(
                f"of {self.images} images {self.right} are right, {self.lost} lost and {self.won} won, which cannot "
                "be: measure again with `secateur bench`"
            )

    @property
    def loss(self) -> float:
        """How much less of the images the pruned side has right, in points."""
        return 100 * (self.lost - self.won) / self.images

    def loss_interval(self, level: float = 0.95) -> tuple[float, float]:
        """The interval of the loss in points; raises `BenchError` without images."""
        if not self.images:
            raise BenchError("no image was answered by both sides: give held-out images and measure again")
        bound = NormalDist().inv_cdf((1 + level) / 2)
        return -self._most(self.won, self.lost, bound), self._most(self.lost, self.won, bound)

    def _most(self, lost: int, won: int, bound: float) -> float:
        """The largest loss in points that `bound` standard errors reach; the least one is that of swapped sides."""
        from scipy.optimize import brentq

        def excess(loss: float) -> float:
            return (self.images * loss - lost + won) / _error(self.images, lost, won, loss) - bound

        found = (lost - won) / self.images
        return 100 * float(brentq(excess, found, 1.0)) if found < 1 and excess(1 - EDGE) > 0 else 100.0


EDGE = 1e-12


def _error(images: int, lost: int, won: int, loss: float) -> float:
    """The standard error of `lost - won` if the true loss were `loss`, as a share, and the rest as likely as can be."""
    b = -lost - won + (2 * images - lost + won) * loss
    free = (math.sqrt(max(b * b + 8 * images * won * loss * (1 - loss), 0.0)) - b) / (4 * images)
    return math.sqrt(images * max(2 * free + loss * (1 - loss), EDGE))
