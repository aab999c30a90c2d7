"""How long a measurement takes, and over how many processes."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from secateur.benchmarks.modes.mode import check_modes
from secateur.benchmarks.paired import LEAST_BLOCKS
from secateur.benchmarks.spec import MOST_PROCESSES, BenchSpec
from secateur.core.errors import BenchError
from secateur.export.runner.machine import MOST_SECONDS, MOST_THREADS

PROCESSES = 8
"""As many as `Effort` takes by itself where there is time.

On a quiet machine whose processes differ by 1.4 %, equal models pass a limit of 0.98 with eight, and only two times of
three with five (`benchmarks/results/error_rates.json`).
"""

LEAST_SECONDS = 0.5
"""A process costs seconds to start: one for less time than this tells more of starting than of the model."""


@dataclass(frozen=True)
class Effort:
    """How long each target, mode and batch is measured; see `paired.measure_pair`. `threads` None: PyTorch's number.

    `modes` are words of `modes.mode`, such as `hot`, `cold` or `throughput:4`. A pair is measured over `processes`, one
    after the other, which share `seconds` and `samples`; None takes eight, or fewer where each would have less than
    half a second.
    """

    seconds: float = 10.0
    samples: int = 2000
    warmup: float = 2.0
    half_width: float = 0.01
    threads: int | None = None
    seed: int = 0
    modes: tuple[str, ...] = ("hot",)
    processes: int | None = None
    least_blocks: int = LEAST_BLOCKS

    def __post_init__(self) -> None:
        check_modes(self.modes)
        if not 0 < self.seconds <= MOST_SECONDS:
            raise BenchError(
                f"got {self.seconds} seconds: measure for more than 0 and at most {MOST_SECONDS}, such as 10"
            )
        if self.threads is not None and not 1 <= self.threads <= MOST_THREADS:
            raise BenchError(f"got {self.threads} threads: measure with 1 to {MOST_THREADS}")
        if self.processes is not None and not 1 <= self.processes <= MOST_PROCESSES:
            raise BenchError(f"got {self.processes} processes: measure over 1 to {MOST_PROCESSES}, such as 8")
        if self.samples < 2 * self.least_blocks:
            raise BenchError(f"got {self.samples} samples: measure {2 * self.least_blocks} or more")

    def exactly(self, samples: int | None) -> Effort:
        """The same with so many samples, however precise they are, within the seconds; None: as it is."""
        return self if samples is None else replace(self, samples=samples, half_width=0.0)

    @staticmethod
    def of(spec: BenchSpec, seed: int) -> Effort:
        """What a recipe asks for under `bench`."""
        effort = Effort(spec.seconds, threads=spec.threads, seed=seed, modes=spec.modes, processes=spec.processes)
        return effort.exactly(spec.samples)

    @property
    def parts(self) -> int:
        """The number of processes."""
        if self.processes is not None:
            return self.processes
        return max(1, min(PROCESSES, int(self.seconds / LEAST_SECONDS)))

    @property
    def part(self) -> Effort:
        """The effort of one of the processes; it ends by time or samples, since its own interval decides nothing."""
        count = self.parts
        if count == 1:
            return self
        least = max(2, -(-self.least_blocks // count))
        return replace(
            self,
            seconds=self.seconds / count,
            samples=2 * max(least, math.ceil(self.samples / count / 2)),
            warmup=self.warmup / 2,
            half_width=0.0,
            processes=1,
            least_blocks=least,
        )
