"""Evidence of a bundle is what bench.json says, with the interval of the accuracy."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest
from scipy import stats

from secateur.benchmarks.results_file import Compared
from secateur.export.runner.evidence import SCHEMA, parse_evidence
from secateur.pipeline.runs.bundle_evidence import evidence_of
from secateur.pipeline.runs.context import Run


def test_it_is_what_was_measured(typed_run: Run) -> None:
    result = typed_run.bench
    found = evidence_of(result)
    assert parse_evidence(json.dumps({"schema": SCHEMA, **asdict(found)}).encode()) == found
    assert set(found.latency) == set(result.speedup)
    key, *_ = result.speedup
    cold = replace(
        result.dense, latency_ms={**result.dense.latency_ms, key: replace(result.dense.latency_ms[key], mode="cold")}
    )
    assert key not in evidence_of(replace(result, dense=cold)).latency
    assert all(one.pruned_ms == result.pruned.latency_ms[key].samples for key, one in found.latency.items())
    assert (found.macs.dense, found.macs.pruned) == (result.dense.macs, result.pruned.macs)
    (top1, *_), images = found.metrics, result.evaluation_images
    assert images
    share = top1.pruned / 100
    z = stats.norm.ppf(0.975)
    half = z * (share * (1 - share) / images + z**2 / (4 * images**2)) ** 0.5 / (1 + z**2 / images)
    middle = (share + z**2 / (2 * images)) / (1 + z**2 / images)
    assert (top1.low, top1.high) == (pytest.approx(100 * (middle - half)), pytest.approx(100 * (middle + half)))


def test_a_metric_that_is_no_share_has_no_interval(typed_run: Run) -> None:
    result = replace(typed_run.bench, metric=Compared("mean absolute error", 1.0, 2.0, False, ""))
    assert (evidence_of(result).metrics[0].low, evidence_of(result).metrics[0].pruned) == (None, 2.0)
