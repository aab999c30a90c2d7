"""What is seen of long work: a moving line in a terminal, and elsewhere a line a stage and a minute."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable

from rich.status import Status
from rich.text import Text

from secateur.export.runner.text import shown
from secateur.pipeline.report.console import InertConsole

COUNT = re.compile(r"\b(\d+(?:\.\d+)?) of (\d+(?:\.\d+)?)\b")
"""How far work is, as its messages say it: `step 30 of 200`."""
MINUTE_S = 60.0


class Remaining:
    """How much longer counted work will take, by how long it took so far; `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._first: dict[tuple[str, float], tuple[float, float]] = {}

    def seconds(self, stage: str, message: str) -> float | None:
        """The seconds that are left when a stage says `step 30 of 200`; None before it has said that twice."""
        if (found := COUNT.search(message)) is None:
            return None
        count, whole, now = float(found[1]), float(found[2]), self._clock()
        before, since = self._first.setdefault((stage, whole), (count, now))
        if count <= before:
            self._first[stage, whole] = (count, now)  # it counts anew
            return None
        return (whole - count) * (now - since) / (count - before)


class Progress:
    """Progress on stderr while stages work, with the time that is left where that is known.

    In a terminal one line moves, and every finished stage leaves one behind. Anything else gets a line for each stage
    that was done, and one `every_s` seconds on what is at work meanwhile.
    """

    def __init__(self, every_s: float = MINUTE_S) -> None:
        self._console = InertConsole(stderr=True)
        self._status: Status | None = None
        self._every_s = every_s
        self._remaining = Remaining(time.monotonic)
        self._at_work = ""
        self._ended = threading.Event()
        self._teller: threading.Thread | None = None

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._status = self._console.status("starting")
            self._status.start()
        else:
            self._teller = threading.Thread(target=self._tell, daemon=True)
            self._teller.start()
        return self

    def __exit__(self, *details: object) -> None:
        self._ended.set()
        if self._status is not None:
            self._status.stop()
        if self._teller is not None:
            self._teller.join()

    def __call__(self, stage: str, message: str) -> None:
        """Shows what a stage is doing; a finished stage leaves a line behind."""
        said = shown(message, lines=False)  # of a device, which may write what it likes
        if message.startswith("done") or message == "up to date":
            self._at_work = ""
            if self._status is not None:
                self._console.print(Text.assemble(("✓", "green"), f" {stage:8} {said}"))
            elif message != "up to date":
                self._line(f"{stage}: {said}")
            return
        left = self._remaining.seconds(stage, message)
        self._at_work = ": ".join(filter(None, (stage, said))) + (f" ({lasting(left)} left)" if left else "")
        if self._status is not None:
            self._status.update(Text(self._at_work))

    def _tell(self) -> None:
        """Says what is at work, from time to time, until the work has ended."""
        while not self._ended.wait(self._every_s):
            if at_work := self._at_work:
                self._line(at_work)

    def _line(self, text: str) -> None:
        self._console.print(text, soft_wrap=True)


def lasting(seconds: float) -> str:
    """A time in the unit that suits it: `about 40 s`, `about 3 min`, `about 2.5 h`."""
    if seconds < 90:
        return f"about {seconds:.0f} s"
    return f"about {seconds / 60:.0f} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"
