"""How long each process measures, and over how many."""

from __future__ import annotations

import re

import pytest

from secateur.benchmarks.effort import Effort
from secateur.benchmarks.modes.mode import check_modes
from secateur.benchmarks.spec import BenchSpec
from secateur.core.errors import BenchError


@pytest.mark.parametrize(("seconds", "parts"), [(10, 8), (4, 8), (3.9, 7), (1, 2), (0.9, 1), (0.1, 1)])
def test_a_process_is_started_for_half_a_second_or_more(seconds: float, parts: int) -> None:
    assert Effort(seconds).parts == parts
    assert Effort(seconds, processes=3).parts == 3


def test_processes_share_the_time_the_samples_and_the_blocks() -> None:
    part = Effort(10, samples=2000, processes=4).part
    assert (part.seconds, part.samples, part.parts, part.least_blocks) == (2.5, 500, 1, 3)
    assert part.half_width == 0  # its own interval ends no process
    alone = Effort(0.3)
    assert alone.part is alone


@pytest.mark.parametrize("wrong", [{"seconds": 0}, {"threads": 0}, {"processes": 0}])
def test_nothing_is_refused_in_a_sentence(wrong: dict[str, int]) -> None:
    with pytest.raises(BenchError, match=f"got 0 {next(iter(wrong))}: measure"):
        Effort(**wrong)


@pytest.mark.parametrize("seconds", [float("inf"), float("nan"), 1e9])
def test_a_time_without_end_is_refused(seconds: float) -> None:
    with pytest.raises(BenchError, match="seconds: measure for more than 0 and at most"):
        Effort(seconds)
    with pytest.raises(BenchError, match="got 100000 threads: measure with 1 to"):
        Effort(threads=100_000)


def test_modes_are_checked_as_a_recipe_checks_them() -> None:
    for words in ((), ("hot", "hot"), ("warm",)):
        with pytest.raises(BenchError) as told:
            check_modes(words)
        with pytest.raises(BenchError, match=re.escape(str(told.value))):
            Effort(modes=words)
        with pytest.raises(BenchError, match=re.escape(f"bench.modes: {told.value}")):
            BenchSpec(modes=words)
