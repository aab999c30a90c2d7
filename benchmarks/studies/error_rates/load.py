"""Work beside a measurement: `python -m secateur_studies.error_rates.load KIND` goes on until it is stopped."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

KINDS = ("core", "bursts", "memory")
"""A core that is kept busy; both cores busy for moments; copies of arrays beyond every cache."""


def work(kind: str, seed: int) -> None:
    """Never returns."""
    rng = np.random.default_rng(seed)
    square, large = rng.random((96, 96)), rng.random(8_000_000)
    copy = np.empty_like(large)
    while True:
        if kind == "memory":
            np.copyto(copy, large)
            continue
        end = time.monotonic() + rng.uniform(0.02, 0.2)
        while time.monotonic() < end:
            square @ square
        if kind == "bursts":
            time.sleep(rng.uniform(0.05, 0.4))


@contextmanager
def load(kind: str, seed: int = 0) -> Iterator[None]:
    """The block runs beside work of a kind; none where `kind` is none."""
    count = {"none": 0, "bursts": 2}.get(kind, 1)
    words = [sys.executable, "-P", "-m", __spec__.name, kind]
    others = [subprocess.Popen([*words, str(seed + index)]) for index in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


if __name__ == "__main__":
    work(sys.argv[1], int(sys.argv[2]))
