from __future__ import annotations

import math
from typing import Any

import pytest

from secateur.benchmarks.spec import BenchSpec
from secateur.core.errors import SecateurError


def test_what_can_be_measured() -> None:
    BenchSpec()
    BenchSpec((1, 32), ("torch:cuda", "tensorrt"), 0.1, 4)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"batch": (0,)}, r"batch is \[0\], but must be 1 or more"),
        ({"batch": ()}, r"batch is \[\], but must be one or more"),
        ({"batch": (8, 1, 8)}, ".*each once"),
        ({"targets": ()}, r"targets is \[\]"),
        ({"targets": ("torch:cpu", "torch:tpu")}, "targets: the target 'torch:tpu' is not known"),
        ({"seconds": 0}, "seconds is 0, but must be between 0 and 86400"),
        ({"seconds": math.inf}, "seconds is inf"),
        ({"threads": 0}, "threads is 0, but must be from 1 to 4096"),
        ({"samples": 19}, "samples is 19, but must be 20 or more"),
        ({"modes": ()}, r"modes: got the modes \[\]: give one or more"),
        ({"modes": ("hot", "warm")}, "modes: the mode 'warm' is not known"),
    ],
)
def test_what_cannot_be_measured_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(SecateurError, match=rf"^bench\.{words}"):
        BenchSpec(**changes)
