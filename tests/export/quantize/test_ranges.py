"""Ranges: the four rules, against ONNX Runtime's own and against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from secateur.export.quantize.formats import FORMATS
from secateur.export.quantize.ranges import BINS, PERCENTILE, RULES, Histogram, Rule, reach

INT8 = FORMATS["int8"].round


def filled(values: NDArray[np.float32], parts: int = 4) -> Histogram:
    histogram = Histogram()
    for part in np.array_split(values.astype(np.float32), parts):
        histogram.add(part)
    return histogram


@pytest.fixture(scope="module")
def heavy() -> NDArray[np.float32]:
    """Values with a few far outliers."""
    return np.random.default_rng(0).standard_t(3, 40_000).astype(np.float32)


def test_the_histogram_of_a_stream_is_that_of_the_whole(heavy: NDArray[np.float32]) -> None:
    heavy = np.concatenate([np.zeros(5, np.float32), 0.01 * heavy[:100], heavy])
    histogram = filled(heavy, 30)
    assert histogram.largest == np.abs(heavy).max() <= histogram.limit
    whole, _ = np.histogram(np.abs(heavy), BINS, (0, histogram.limit))
    assert histogram.counts.sum() == heavy.size
    assert np.abs(np.cumsum(histogram.counts) - np.cumsum(whole)).max() <= 5  # values at the edges of bins


@pytest.mark.parametrize("rule", RULES)
def test_nothing_but_zeros_reaches_nowhere(rule: Rule) -> None:
    assert reach(filled(np.zeros(10)), rule, INT8) == 0.0


def test_minmax_and_percentile_are_their_definitions(heavy: NDArray[np.float32]) -> None:
    histogram = filled(heavy)
    assert reach(histogram, "minmax", INT8) == np.abs(heavy).max()
    wanted = np.percentile(np.abs(heavy), PERCENTILE)
    assert reach(histogram, "percentile", INT8) == pytest.approx(wanted, abs=2 * histogram.limit / BINS)


def test_mse_is_the_least_error(heavy: NDArray[np.float32]) -> None:
    found = reach(filled(heavy), "mse", INT8)

    def error(far: float) -> float:
        return float(((INT8(heavy, far) - heavy) ** 2).mean())

    tried = [error(far) for far in np.abs(heavy).max() * np.linspace(0.2, 1, 200)]
    assert error(found) == pytest.approx(min(tried), rel=0.03)
    assert error(found) < error(float(np.abs(heavy).max()))


def test_entropy_agrees_with_onnx_runtime(heavy: NDArray[np.float32]) -> None:
    calibrate = pytest.importorskip("onnxruntime.quantization.calibrate")
    collector = calibrate.HistogramCollector("entropy", True, BINS // 4, 128, 99.99, "same")
    collector.collect_value({"x": heavy})
    low, high = collector.get_entropy_threshold(collector.histogram_dict["x"], 128)
    theirs = max(abs(float(low)), abs(float(high)))
    assert 0.5 * theirs < reach(filled(heavy), "entropy", INT8) < 2 * theirs
    assert theirs < 0.8 * np.abs(heavy).max()


def test_what_a_relu_cuts_does_not_count_for_entropy(heavy: NDArray[np.float32]) -> None:
    positive = np.abs(heavy)
    more = np.concatenate([positive, np.zeros(10 * positive.size, np.float32)])
    assert reach(filled(more), "entropy", INT8) == pytest.approx(reach(filled(positive), "entropy", INT8), rel=0.1)
