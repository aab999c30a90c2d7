"""How many images a drop takes to be told."""

from __future__ import annotations

import pytest

from secateur.export.quantize.limit import Drop


def test_four_times_the_images_tell_half_the_drop() -> None:
    drop = Drop(0.0, 0.5, 400)
    assert drop.needed(0.98) == 400
    assert drop.needed(0.49) == pytest.approx(1600, abs=1)
    assert drop.needed(0) == 0
