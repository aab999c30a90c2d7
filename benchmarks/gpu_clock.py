"""Times of GPU work: CUDA events around replays of a CUDA graph that walks over rotating buffers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

COLD_BYTES = 256 * 2**20  # more than any second-level cache: each call of a rotation finds its inputs in memory


def rotation_length(bytes_of_one: int, most: int = 64) -> int:
    """How many copies of a call's tensors outgrow the caches; at least 2, at most `most`."""
    return max(2, min(most, -(-COLD_BYTES // max(1, bytes_of_one))))


def graph_samples_us(calls: Sequence[Callable[[], object]], samples: int = 30, warm_up: int = 3) -> list[float]:
    """Microseconds of one call, once for each of `samples` replays of a CUDA graph of all `calls`.

    The calls differ in their buffers only. They run before the capture, so that whatever they compile or allocate is
    there. One replay is timed as a whole by two events.
    """
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # of torch
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for call in calls:
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for call in calls:
            call()
    for _ in range(warm_up):
        graph.replay()
    found = []
    for _ in range(samples):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]  # of torch
        start.record()
        graph.replay()
        end.record()
        end.synchronize()
        found.append(1e3 * start.elapsed_time(end) / len(calls))
    return found
