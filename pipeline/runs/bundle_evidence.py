"""What a run has measured, as the evidence of its bundle."""

from __future__ import annotations

from secateur.benchmarks.gating.shares import share_interval
from secateur.benchmarks.keys import TOP1
from secateur.benchmarks.results_file import BenchResult, Compared
from secateur.export.runner import evidence
from secateur.export.runner.evidence import Cost, Evidence, Latency, Metric


def evidence_of(result: BenchResult) -> Evidence:
    """The metrics, costs and hot latencies with raw samples of a bench.json, and the machine that they are of."""
    judged = (result.judged,) if result.judged else ()
    dense, pruned, machine = result.dense, result.pruned, result.environment
    return Evidence(
        metrics=tuple(_metric(one, result.evaluation_images) for one in (*judged, *result.other_metrics)),
        macs=Cost(dense.macs, pruned.macs),
        params=Cost(dense.params, pruned.params),
        size_bytes=Cost(dense.size_bytes, pruned.size_bytes),
        latency={
            key: Latency(
                dense.latency_ms[key].batch,
                dense.latency_ms[key].samples,
                pruned.latency_ms[key].samples,
                found.ratio,
                found.low,
                found.high,
            )
            for key, found in result.speedup.items()
            if dense.latency_ms[key].mode == "hot"  # as a bundle is measured on a device
        },
        machine=evidence.Machine(
            cpu_model=machine.cpu_model,
            threads=machine.threads,
            platform=f"{machine.os.split()[0]}-{machine.machine}".lower(),
            gpu=machine.gpu.name if machine.gpu else "",
            capability=machine.gpu.capability if machine.gpu else "",
            os=machine.os,
            python=machine.python,
            versions={name: version for name, version in machine.versions.items() if version},
        ),
    )


def _metric(one: Compared, images: int | None) -> Metric:
    """A metric; top-1, a share of images, has an interval."""
    low, high = share_interval(one.pruned, images) if one.name == TOP1 and images else (None, None)
    return Metric(one.name, one.unit, one.dense, one.pruned, images, low, high)
