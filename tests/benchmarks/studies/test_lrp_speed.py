"""The comparison of speed: what is compared, and how its samples become one number."""

from __future__ import annotations

import threading
from multiprocessing import Pipe
from pathlib import Path

import pytest
from secateur_studies import lrp_speed
from secateur_studies.lrp_speed import Side, comparisons, serve, summary


def test_every_side_can_be_made() -> None:
    assert len(comparisons(None, 4)) == len(lrp_speed.RULES) + 1
    sides = comparisons(Path("checkout"), 4)
    assert set(comparisons(None, 4)) < set(sides)
    for ours, theirs in sides.values():
        assert ours.images == 4
        assert theirs.images == (1 if theirs.maker.startswith("published") else 4)
        assert callable(getattr(lrp_speed, ours.maker))
        assert callable(getattr(lrp_speed, theirs.maker))


def test_throughput_is_of_the_median_time_and_memory_of_the_largest_peak() -> None:
    found = summary(Side("maps", {}, 8), [(40.0, 3), (20.0, 9), (10.0, 5)])
    assert (found.images_per_second, found.peak_bytes) == (400.0, 9)
    assert found.samples_ms == (40.0, 20.0, 10.0)


def test_a_side_answers_with_time_and_memory_until_it_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[int] = []
    held: list[bytearray] = []

    def maker(images: object, size: int) -> lrp_speed.Work:
        def work() -> None:
            done.append(1)
            held.append(bytearray(b"x" * size))

        return work

    monkeypatch.setattr(lrp_speed, "maker", maker, raising=False)
    end, other = Pipe()
    thread = threading.Thread(target=serve, args=(other, Side("maker", {"size": 50_000_000}, 1)))
    thread.start()
    assert end.recv() == "ready"
    end.send("go")
    milliseconds, peak = end.recv()
    end.send("stop")
    thread.join(10)
    assert not thread.is_alive()
    assert len(done) == 2  # one to warm up
    assert milliseconds > 0
    assert peak >= 80_000_000
