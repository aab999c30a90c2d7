"""The signals by which systems end programs, as an exception: what is half done is cleaned up, as after Ctrl-C."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

NAMES = ("SIGTERM", "SIGHUP")


class Stopped(BaseException):
    """The program was told to end by a signal; no `except Exception` holds it up."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.name = signal.Signals(number).name
        self.exit_code = 128 + number


@contextmanager
def stoppable() -> Iterator[None]:
    """SIGTERM and SIGHUP raise `Stopped` in the block, once; what is ignored (nohup) stays so.

    Processes of a launcher, which wait for each other where Python cannot interrupt them, end at once as ever.
    """
    numbers = [number for name in NAMES if (number := getattr(signal, name, None)) is not None]
    if threading.current_thread() is not threading.main_thread() or "WORLD_SIZE" in os.environ:
        yield
        return
    before = {number: signal.getsignal(number) for number in numbers}
    caught = [number for number, handler in before.items() if handler == signal.SIG_DFL]

    def stop(number: int, _: FrameType | None) -> None:
        for one in caught:
            signal.signal(one, signal.SIG_IGN)  # a second one would end the cleaning up
        raise Stopped(number)

    for number in caught:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in caught:
            signal.signal(number, before[number])
