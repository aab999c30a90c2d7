"""Times of trtexec: what it writes is read, everything else is refused, and planted speedups are found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.benchmarks import trtexec_times
from secateur.benchmarks.gate import judge
from secateur.benchmarks.limits import Limits
from secateur.benchmarks.trtexec_times import NOTE, read_times, trtexec_result
from secateur.core.errors import BenchError

LINE = (
    '{{ "startEnqMs" : 1.5, "endEnqMs" : 1.6, "startH2dMs" : 0, "endH2dMs" : 0, "startComputeMs" : 1.6, '
    '"endComputeMs" : 3, "startD2hMs" : 0, "endD2hMs" : 0, "h2dMs" : 0, "computeMs" : {:.6g}, "d2hMs" : 0, '
    '"latencyMs" : {:.6g} }}'
)
"""An entry as `exportJSONTrace` of TensorRT's samples/common/sampleReporting.cpp writes it."""


def exported(path: Path, times: np.ndarray) -> Path:
    path.write_text("[\n  " + "\n, ".join(LINE.format(time, time + 0.1) for time in times) + "\n]\n")
    return path


def noisy(median: float, count: int, seed: int) -> np.ndarray:
    return median * np.exp(0.03 * np.random.default_rng(seed).standard_normal(count))


def test_a_planted_speedup_is_judged(tmp_path: Path) -> None:
    dense = exported(tmp_path / "dense.json", noisy(3.0, 801, 0))
    pruned = exported(tmp_path / "pruned.json", noisy(2.0, 400, 1))
    assert read_times(dense)[0] == pytest.approx(noisy(3.0, 801, 0)[0], rel=1e-5)
    found = trtexec_result(dense, pruned, "tensorrt@fp16", 4)
    interval = found.speedup["tensorrt@fp16"]
    assert interval.low < 1.5 < interval.high and interval.half_width < 0.01
    assert len(found.dense.latency_ms["tensorrt@fp16"].samples) == 400
    for limit, outcome in ((1.4, "pass"), (1.6, "fail"), (1.5, "inconclusive")):
        verdict = judge(found, None, Limits(min_speedup=limit))
        assert verdict.outcome == outcome
        assert NOTE in verdict.notes
        assert (verdict.checks[0].low, verdict.checks[0].high) == (interval.low, interval.high)
    with pytest.raises(BenchError, match="measured in turn, and those of trtexec were not"):
        judge(found, found, Limits())


def test_drift_that_both_files_share_does_not_narrow_the_interval(tmp_path: Path) -> None:
    """Blocks of the same place share nothing here; pairing them would take the common drift out."""
    drift = np.linspace(1, 1.5, 400)
    files = [exported(tmp_path / f"{place}.json", noisy(2.0, 400, place) * drift) for place in range(2)]
    assert trtexec_result(*files).speedup["tensorrt"].half_width > 0.01


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is no JSON of trtexec"),
        ("\xff", "is no JSON of trtexec"),
        ("[" * 100_000, "is no JSON of trtexec"),
        ("{}", "holds no list of times"),
        ("[]", "has 0 times, but 10 are needed"),
        ("[1]", "entry 0 has no computeMs"),
        (json.dumps([{"computeMs": 1.0}] * 9), "has 9 times, but 10 are needed"),
        (json.dumps([{"computeMs": 1.0}] * 10 + [{"computeMs": 0}]), "entry 10 has no computeMs above 0"),
        ('[{"computeMs": NaN}]', "NaN is no number of JSON"),
        ('[{"computeMs": 1e999}]', "is larger than any number"),
        ('[{"computeMs": true}]', "entry 0"),
        ('[{"latencyMs": 1.0}]', "entry 0"),
    ],
)
def test_anything_else_is_refused_in_a_sentence(content: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "times.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(BenchError, match=words):
        read_times(tmp_path / "times.json")


def test_files_that_are_absent_or_too_large_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BenchError, match=r"cannot read .*absent.json: No such file"):
        read_times(tmp_path / "absent.json")
    monkeypatch.setattr(trtexec_times, "LARGEST_BYTES", 100)
    with pytest.raises(BenchError, match=r"bytes, but at most 100 are read"):
        read_times(exported(tmp_path / "long.json", noisy(1.0, 20, 0)))


_SCALARS = st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5)
_JSON = st.recursive(
    _SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.just("computeMs"), inner), max_leaves=20
)


@settings(max_examples=40, deadline=None)
@given(content=_JSON)
def test_whatever_json_is_read_or_refused(content: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(json.dumps(content))
    try:
        assert all(time > 0 for time in read_times(path))
    except BenchError as error:
        assert "any.json" in str(error) and "\n" not in str(error)
