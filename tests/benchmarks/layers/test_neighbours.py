"""Aligned widths are those that pruning missed, and they are timed beside the pruned ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from secateur.benchmarks import runners
from secateur.benchmarks.layers import neighbours
from secateur.benchmarks.layers.alone import Alone
from secateur.benchmarks.layers.match import Matched, Side
from secateur.benchmarks.layers.neighbours import Neighbours, aligned_widths
from secateur.benchmarks.layers.operations import Operation
from secateur.core.errors import EngineError
from secateur.export.targets import parse_typed_target
from tests.export.conftest import needs_ort


def product(taken: int, given: int) -> Alone:
    return Alone("MatMul", (4, taken), (taken, given))


def side(layer: Alone | None, macs: int = 100) -> Side:
    operations = (Operation("a", "MatMul", "fc", macs=macs, product=layer), Operation("b", "Add", "fc", macs=10))
    return Side(operations, np.ones((20, 2)))


def matched(dense: Alone | None, pruned: Alone | None) -> Matched:
    return Matched("fc", side(dense), side(pruned), None)


@pytest.mark.parametrize(
    ("dense", "pruned", "found"),
    [
        ((96, 384), (96, 301), {8: (96, 304), 32: (96, 320)}),  # 16 changes nothing more
        ((96, 384), (50, 301), {8: (56, 304), 16: (64, 304), 32: (64, 320)}),
        ((10, 12), (10, 9), {8: (10, 12)}),  # never beyond the dense width
        ((96, 384), (96, 384), {}),
        ((96, 384), (64, 256), {}),  # aligned to all
    ],
)
def test_widths(dense: tuple[int, int], pruned: tuple[int, int], found: dict[int, tuple[int, int]]) -> None:
    aligned = dict(aligned_widths(product(*dense), product(*pruned)))
    assert {multiple: layer.widths for multiple, layer in aligned.items()} == found


def test_groups_are_widened_together_or_not_at_all() -> None:
    dense, pruned = (Alone("Conv", (width, 8, 8), (width, 1, 3, 3), groups=width) for width in (32, 27))
    assert [layer.groups for _, layer in aligned_widths(dense, pruned)] == [32]


@needs_ort
@pytest.mark.parametrize("target", ["onnxruntime:cpu", "torch:cpu"])
def test_a_pair_is_timed_on_the_target(target: str, tmp_path: Path) -> None:
    said: list[str] = []
    ask = Neighbours(parse_typed_target(target), 2, 1, 0.01, tmp_path, say=said.append)
    (one,) = ask(matched(product(16, 16), product(16, 12)))
    assert [*ask(matched(product(16, 16), product(16, 12)))] == [one]  # which is timed once
    assert said == ["timing fc alone with multiples of 8"]
    assert (one.widths, one.aligned, one.multiple) == ("16 to 12 channels", "16 to 16 channels", 8)
    assert one.macs == 0.75
    assert one.ratio.low <= one.ratio.ratio <= one.ratio.high


def test_what_is_no_product_by_a_weight_is_not_timed(tmp_path: Path) -> None:
    ask = Neighbours(parse_typed_target("torch:cpu"), 1, 1, 0.01, tmp_path)
    assert list(ask(matched(product(16, 16), None))) == []
    two = Matched("fc", side(product(16, 16)), side(product(16, 12), macs=10), None)  # half of the work is elsewhere
    assert list(ask(two)) == []
    eight = Neighbours(parse_typed_target("onnxruntime:cpu@int8"), 1, 1, 0.01, tmp_path)
    assert list(eight(matched(product(16, 16), product(16, 12)))) == []


def test_nothing_is_timed_after_the_time_for_it(tmp_path: Path) -> None:
    ask = Neighbours(parse_typed_target("torch:cpu"), 1, 1, 0.01, tmp_path, most_seconds=0.0)
    assert list(ask(matched(product(16, 16), product(16, 12)))) == []
    assert ask.notes == [f"fc was not timed alone with multiples of 8: {neighbours.SECONDS_UP}"]


def test_a_layer_that_cannot_be_built_alone_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise EngineError("no such engine")

    monkeypatch.setattr(runners, "make_runner", refuse)
    ask = Neighbours(parse_typed_target("torch:cpu"), 1, 1, 0.01, tmp_path)
    assert list(ask(matched(product(16, 16), product(16, 12)))) == []
    assert ask.notes == ["fc cannot be timed alone with multiples of 8: no such engine"]
