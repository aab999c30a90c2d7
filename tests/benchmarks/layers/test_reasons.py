"""Each sentence follows from planted measurements, and none is said where one of its conditions is missing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from secateur.benchmarks.bootstrap import Interval
from secateur.benchmarks.layers.match import Matched, match_layers
from secateur.benchmarks.layers.operations import Operation
from secateur.benchmarks.layers.reasons import UNKNOWN, Neighbour, explain, gained_little
from tests.benchmarks.layers.planted import ROOFLINE, operation, times

Timed = tuple[Operation, float]
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
PRODUCT = operation("MatMul", 4.0, macs=2_000_000, bytes_moved=1000)
HALF = operation("MatMul", 4.0, macs=1_000_000, bytes_moved=1000)
QUICK = operation("MatMul", 2.0, macs=1_000_000, bytes_moved=1000)


def layer(dense: list[Timed], pruned: list[Timed]) -> Matched:
    (found,) = match_layers(times(*dense), times(*pruned))
    return found


def neighbour(ratio: float, low: float, macs: float = 0.9) -> Neighbour:
    return Neighbour("60 to 60 channels", "64 to 64 channels", 8, Interval(ratio, low, ratio + 0.01), macs)


@pytest.mark.parametrize(
    ("pruned", "little"),
    [(HALF, True), (QUICK, False), (operation("MatMul", 3.5, macs=1_000_000), True), (PRODUCT, False)],
)
def test_only_layers_that_lost_macs_but_no_time_are_explained(pruned: Timed, little: bool) -> None:
    """Half of the MACs promise twice the speed: a quarter of that gain is 1.25 times."""
    found = layer([PRODUCT], [pruned])
    assert gained_little(found) == little
    assert bool(explain(found, ROOFLINE)) == little


def test_nothing_shows_why() -> None:
    assert explain(layer([PRODUCT], [HALF]), ROOFLINE) == UNKNOWN


def test_provider_fallback() -> None:
    there = (replace(PRODUCT[0], provider=CUDA), 4.0)
    found = layer([there], [HALF])
    assert explain(found, ROOFLINE, CUDA) == (
        f"provider fallback: MatMul of the pruned layer run on {CPU}, not on {CUDA}"
    )
    assert explain(layer([PRODUCT], [HALF]), ROOFLINE, CUDA) == UNKNOWN  # the dense one runs there too
    assert explain(found, ROOFLINE, CPU) == UNKNOWN


@pytest.mark.parametrize(("kinds", "words"), [(["Transpose"], "Transpose"), (["Cast", "Cast"], "2 Cast")])
def test_copies(kinds: list[str], words: str) -> None:
    moving = [operation(kind, 2.0 / len(kinds), moves=True) for kind in kinds]
    assert explain(layer([PRODUCT], [QUICK, *moving]), ROOFLINE) == (
        f"copies: {words}, which the dense layer does without, take 2.000 ms"
    )
    both = layer([operation("MatMul", 2.0, macs=2_000_000), *moving], [QUICK, *moving])
    assert explain(both, ROOFLINE) == UNKNOWN  # the dense layer has them too
    quick = [(one, 0.1) for one, _ in moving]
    assert explain(layer([PRODUCT], [HALF, *quick]), ROOFLINE) == UNKNOWN  # which take too little
    slow_profiler = replace(ROOFLINE, floor_ms=1.9)
    assert "copies" not in explain(layer([PRODUCT], [QUICK, *moving]), slow_profiler)


def test_lost_fusion() -> None:
    fused = operation("FusedMatMul", 4.0, macs=2_000_000, does=("MatMul", "Relu"))
    alone = operation("Relu", 2.0)
    assert explain(layer([fused], [QUICK, alone]), ROOFLINE) == (
        "lost fusion: Relu of the pruned layer take 2.000 ms on their own, and are inside of FusedMatMul in the dense "
        "layer"
    )
    other = operation("Tanh", 2.0)  # which the dense layer has not fused
    assert "lost fusion" not in explain(layer([fused], [QUICK, other]), ROOFLINE)
    assert "lost fusion" not in explain(layer([PRODUCT, alone], [HALF, alone]), ROOFLINE)


def test_a_layer_without_macs_is_explained_where_it_is_slower_and_other_operations_run() -> None:
    fused = operation("LayerNormalization", 2.0, does=("Sub", "Div"))
    apart = [operation("Sub", 1.2), operation("Div", 1.2)]
    assert explain(layer([fused], apart), ROOFLINE).startswith("lost fusion: Sub and Div of the pruned layer take 2.4")
    assert explain(layer([fused], [operation("Sub", 0.9), operation("Div", 0.9)]), ROOFLINE) == ""  # not slower
    assert explain(layer([fused], [operation("LayerNormalization", 4.0)]), ROOFLINE) == ""


def test_too_small() -> None:
    tiny = [operation("MatMul", 0.003, macs=macs, bytes_moved=9) for macs in (20, 10)]
    assert explain(layer(tiny[:1], tiny[1:]), ROOFLINE) == (
        "too small to fill the device: it takes 0.0030 ms in an operation, and as many with next to nothing to do take "
        "0.0020 ms"
    )
    assert explain(layer(tiny[:1], tiny[1:]), replace(ROOFLINE, floor_ms=0.001)) == UNKNOWN


@pytest.mark.parametrize(
    ("changed", "bound"),
    [
        ({}, True),
        ({"macs": 4_000_000}, False),  # 10 MACs per byte are the ridge
        ({"bytes_moved": 100_000}, False),  # a quarter of the bandwidth
        ({"bytes_moved": 900_000}, False),  # more than the memory can do: caches
    ],
)
def test_memory_bound(changed: dict[str, int], bound: bool) -> None:
    """4 ms at 1e8 bytes per second are 400,000 bytes."""
    usual = {"macs": 1_000_000, "bytes_moved": 390_000}
    dense = operation("MatMul", 4.0, macs=9_000_000, bytes_moved=400_000)
    said = explain(layer([dense], [operation("MatMul", 4.0, **{**usual, **changed})]), ROOFLINE)
    assert said == (
        "memory-bound: it moves 0.39 MB at 0.1 of 0.1 GB/s, and has 98% of the dense layer's bytes beside 11% of its "
        "MACs"
        if bound
        else UNKNOWN
    )


def test_bytes_that_fell_as_the_macs_did_explain_nothing() -> None:
    dense = operation("MatMul", 4.0, macs=2_000_000, bytes_moved=800_000)
    pruned = operation("MatMul", 4.0, macs=1_000_000, bytes_moved=400_000)
    assert explain(layer([dense], [pruned]), ROOFLINE) == UNKNOWN


@pytest.mark.parametrize(
    ("found", "unaligned"),
    [
        (neighbour(1.3, 1.2), True),  # the aligned one is faster
        (neighbour(1.0, 0.99), True),  # as fast, with a tenth more MACs
        (neighbour(1.0, 0.94), False),  # which may be as slow as its MACs say
        (neighbour(0.95, 0.949), False),
        (neighbour(0.995, 0.99, macs=0.99), False),  # too near to tell
    ],
)
def test_unaligned_widths_are_blamed_only_where_the_aligned_ones_cost_no_more(
    found: Neighbour, unaligned: bool
) -> None:
    said = explain(layer([PRODUCT], [HALF]), ROOFLINE, neighbours=lambda _: [neighbour(0.8, 0.7), found])
    assert said == (
        f"unaligned widths: 64 to 64 channels (multiples of 8) take {1 / found.ratio.ratio:.2f} times the time of 60 "
        "to 60 channels and have 1.11 times the MACs, timed alone"
        if unaligned
        else UNKNOWN
    )


def test_another_kernel() -> None:
    dense, other = operation("Conv (NCHWc)", 4.0, macs=2_000_000), operation("Conv", 4.0, macs=1_000_000)
    found = layer([dense], [other])
    assert explain(found, ROOFLINE) == ("another kernel: Conv takes 4.000 ms, where the dense layer runs Conv (NCHWc)")
    assert explain(found, ROOFLINE, neighbours=lambda _: [neighbour(1.3, 1.2)]).startswith("unaligned widths")


def test_nothing_is_timed_where_something_else_explains() -> None:
    def ask(found: Matched) -> Iterator[Neighbour]:
        raise AssertionError("timed")
        yield

    moving = operation("Transpose", 2.0, moves=True)
    assert explain(layer([PRODUCT], [QUICK, moving]), ROOFLINE, neighbours=ask).startswith("copies")
    assert explain(layer([PRODUCT], [QUICK]), ROOFLINE, neighbours=ask) == ""
