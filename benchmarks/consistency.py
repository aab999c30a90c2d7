"""Whether a bench.json says one thing that can be: what is in it twice must agree, or a judge could see the better."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from secateur.benchmarks.bootstrap import percentiles
from secateur.benchmarks.keys import TOP1, split_key
from secateur.benchmarks.modes.mode import mode_of
from secateur.core.errors import BenchError

if TYPE_CHECKING:
    from secateur.benchmarks.results_file import BenchResult, Compared, Latency

CLOSE = 1e-3
"""How far, as a share, a percentile may be from that of its samples: they are written in nanoseconds."""
MOST = 10**18
"""Of anything that is counted: images, operations, bytes."""
TWINS = 10
"""Samples that two processes measure alike in every digit only where they are copies."""


def check_consistent(result: BenchResult, where: str) -> None:
    """Raises `BenchError` with the first thing in which a result contradicts itself; `where` names its file."""
    for said in _contradictions(result):
        raise BenchError(f"{where}: {said}: measure again with `secateur bench`")


def _contradictions(result: BenchResult) -> Iterator[str]:
    if result.evaluation_images is not None and not 1 <= result.evaluation_images <= MOST:
        yield f"accuracy is of {result.evaluation_images} images"
    places: dict[tuple[str, int], str] = {}
    sides = {"dense": result.dense, "pruned": result.pruned}
    for name, side in sides.items():
        for what in ("macs", "params", "size_bytes", "top1"):
            if (value := getattr(side, what)) is not None and not 0 <= value <= (100 if what == "top1" else MOST):
                yield f"{name} has a {what} of {value:g}"
        yield from (f"{name} has {size} bytes on {goal}" for goal, size in side.sizes.items() if not 1 <= size <= MOST)
        for goal, ran in side.ran.items():
            if ran.provider and not goal.startswith("onnxruntime:"):
                yield f"{name} ran on {ran.provider} for {goal}, which is no target of ONNX Runtime"
            wide = sum(ran.products.values()) - ran.products.get(goal.partition("@")[2] or "fp32", 0)
            if (told := ran.kept + len(ran.otherwise)) and (told != wide or ran.kept < 0):
                yield f"{name} says of {told} products for {goal} why they are in another precision, but {wide} are"
        for key, latency in side.latency_ms.items():
            yield from (f"{name} has {said} under the key {key}" for said in _of_latency(key, latency))
            if key not in result.speedup:
                yield f"{name} has a latency for {key}, but there is no speedup for it"
    for key, ratio in result.speedup.items():
        for name, side in sides.items():
            if key not in side.latency_ms:
                yield f"there is a speedup for {key}, but {name} has no latency for it"
        one, two = (side.latency_ms[key] for side in sides.values())
        for what in ("batch", "processes"):
            if getattr(one, what) != getattr(two, what):
                yield f"the sides under the key {key} differ in {what} ({getattr(one, what)} and {getattr(two, what)})"
        if not 0 < ratio.low <= ratio.ratio <= ratio.high:
            yield f"the speedup under the key {key} is {ratio}, which is no interval"
        place = split_key(key)[0], one.batch
        if (other := places.setdefault(place, key)) != key:
            yield f"{other} and {key} are one target with one batch"
    for metric in (result.metric, *result.accuracy.values()):
        yield from _of_metric(metric, result) if metric is not None else ()


def _of_latency(key: str, latency: Latency) -> Iterator[str]:
    target, batch = split_key(key)
    if not latency.samples:
        yield "no raw samples"
    if batch is not None and latency.batch != batch:
        yield f"a batch of {latency.batch}"
    if latency.mode != str(mode_of(target)):
        yield f"the mode {latency.mode}"
    for name, found in zip(("p50", "p90", "p99"), percentiles(latency.samples), strict=True):
        if not abs((said := getattr(latency, name)) - found) <= CLOSE * found + 1e-6:
            yield f"a {name} of {said:g} ms and samples whose {name} is {found:g} ms"
    begin, seen = 0, set()
    for count in latency.processes:
        part = latency.samples[begin : begin + count]
        if len(part) >= TWINS and len(set(part)) > 1 and part in seen:
            yield "the same samples of two processes"
        seen.add(part)
        begin += count


def _of_metric(metric: Compared, result: BenchResult) -> Iterator[str]:
    if metric.name == TOP1 and not (0 <= metric.dense <= 100 and 0 <= metric.pruned <= 100):
        yield f"{metric.name} is {metric.dense:g} % dense and {metric.pruned:g} % pruned"
    if metric.name == TOP1 and metric is result.metric:
        for name, value in (("dense", metric.dense), ("pruned", metric.pruned)):
            top1 = getattr(result, name).top1
            if top1 is not None and abs(top1 - value) > CLOSE:
                yield f"{name} has a top1 of {top1:g} %, but its metric says {value:g} %"
    if metric.unit == "%" and not all(-100 <= value <= 100 for value in (metric.dense, metric.pruned)):
        yield f"{metric.name} is {metric.dense:g} % dense and {metric.pruned:g} % pruned"
    if (pairs := metric.pairs) is not None and pairs.images > MOST:
        yield f"{metric.name} is of {pairs.images} images"
    elif pairs is not None and pairs.images:
        half = 50 / pairs.images  # of one image, in points
        right = 100 * pairs.right / pairs.images
        if abs(right - metric.dense) > half or abs(pairs.loss - metric.loss) > half:
            yield (
                f"by image {metric.name} is {right:.2f} % dense and {right - pairs.loss:.2f} % pruned, but "
                f"{metric.dense:.2f} % and {metric.pruned:.2f} % in all"
            )
