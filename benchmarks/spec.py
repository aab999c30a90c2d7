"""What is measured: the part of a recipe under `bench`."""

from __future__ import annotations

from dataclasses import dataclass

from secateur.benchmarks.modes.mode import check_modes
from secateur.core.errors import RecipeError, naming
from secateur.core.ranges import Range, check_ranges
from secateur.export.runner.machine import MOST_SECONDS, MOST_THREADS
from secateur.export.targets import parse_target

MOST_PROCESSES = 50


@dataclass(frozen=True)
class BenchSpec:
    """Where and at which batch sizes latency is measured, and how long.

    Raises a `SecateurError` for a value that cannot be measured with.
    """

    batch: tuple[int, ...] = (1,)
    """The batch sizes that latency is measured at, each once."""
    targets: tuple[str, ...] = ("onnxruntime:cpu", "torch:cpu")
    """Where latency is measured, each once, such as `onnxruntime:cpu`, `torch:cuda` or `tensorrt`."""
    seconds: float = 10.0
    """At most so many seconds are measured for each target, batch and mode; more than 0."""
    threads: int | None = None
    """The threads of CPU runtimes, 1 or more; null: PyTorch's number."""
    modes: tuple[str, ...] = ("hot",)
    """What is within a time: `hot`, `cold`, `copies`, `graph`, `concurrent:N`, `throughput:N`."""
    samples: int | None = None
    """How many runs of each side are timed, 20 or more (5,000 show the 99.9th percentile); null: until the ratio is
    precise, 2,000 at most.
    """
    processes: int | None = None
    """How many processes share the time, 1 to 50, whose spread is the interval; null: eight, or fewer where each would
    have less than half a second.
    """

    def __post_init__(self) -> None:
        for name, example in (("batch", "[1, 8]"), ("targets", "['onnxruntime:cpu']")):
            given = getattr(self, name)
            if not given or len(set(given)) < len(given):
                raise RecipeError(f"bench.{name} is {list(given)}, but must be one or more, each once: {example}")
        for target in self.targets:
            with naming("bench.targets"):
                parse_target(target)
        with naming("bench.modes"):
            check_modes(self.modes)
        some = {"batch": Range(1), "samples": Range(20)}
        bounded = {"threads": Range(1, MOST_THREADS), "processes": Range(1, MOST_PROCESSES)}
        ranges = {"seconds": Range(0, MOST_SECONDS, strict=True), **some, **bounded}
        check_ranges(self, "bench", ranges, RecipeError)
