"""Work with the sensors read beside it, and what the device was like meanwhile."""

from __future__ import annotations

import time
from typing import Callable, TypeVar

from .conditions import Conditions, conditions
from .watcher import INTERVAL, Watcher

T = TypeVar("T")


def watched(work: Callable[[], T]) -> tuple[T, Conditions]:
    """What `work` gives, and what the device was like from its beginning to its end; energy is not counted.

    Raises `SensorError` where no watcher starts, or it left nothing behind.
    """
    with Watcher(INTERVAL) as watcher:
        start = time.monotonic()
        found = work()
        end = time.monotonic()
        time.sleep(2 * INTERVAL)  # a reading after the work
    return found, conditions(watcher.seen, (start, start), (start, end), {})
