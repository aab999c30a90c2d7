"""The command lines of NVIDIA's trtexec that build and time the graphs of a run, where no Python is wanted."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from secateur.export.engine_info import Profile
from secateur.export.graph_types import graph_tensors, read_graph
from secateur.export.runner.tensors import DYNAMIC, TensorInfo

PAGE = "trtexec.md"

_HEAD = """# Building and timing these graphs with trtexec

Run the lines in this folder on the device. The graphs are typed: TensorRT 10 (JetPack 6) has to be told so with
`--stronglyTyped`, TensorRT 11 (JetPack 7.2.2) always does and no longer knows that flag: leave it out there. No
`--fp16`, `--int8` or `--best`: the precision is that of the graph.

`trtexec` lies in `/usr/src/tensorrt/bin` on a Jetson. Fix the clocks first (`sudo nvpmodel -m 0; sudo jetson_clocks`).

Then, where secateur is, with both files of times:

    secateur gate --trtexec model.dense.times.json model.times.json --min-speedup 1.3
"""


def trtexec_page(graphs: Sequence[Path], profile: Profile) -> str:
    """The page for these graphs, in Markdown: engines that take the batches of `profile`, timed at the usual one."""
    return "\n".join([_HEAD, *(_section(path, profile) for path in graphs)])


def trtexec_lines(graph: Path, profile: Profile) -> tuple[str, str]:
    """The command that builds the engine of a graph, and the one that times it at the usual batch of the profile."""
    takes, _ = graph_tensors(read_graph(graph))
    stem = graph.name.removesuffix(".onnx")
    shapes = {
        "--minShapes": _shapes(takes, profile.smallest),
        "--optShapes": _shapes(takes, profile.usual),
        "--maxShapes": _shapes(takes, profile.largest),
    }
    dynamic = any(DYNAMIC in tensor.shape for tensor in takes)
    build = [
        "trtexec",
        f"--onnx={graph.name}",
        *(f"{flag}={value}" for flag, value in shapes.items() if dynamic),
        "--stronglyTyped",
        f"--saveEngine={stem}.engine",
        "--timingCacheFile=timing.cache",
        "--profilingVerbosity=detailed",
        "--skipInference",
    ]
    run = [
        "trtexec",
        f"--loadEngine={stem}.engine",
        *([f"--shapes={shapes['--optShapes']}"] if dynamic else []),
        "--warmUp=2000",
        "--duration=10",
        "--noDataTransfers",
        "--useSpinWait",
        f"--exportTimes={stem}.times.json",
    ]
    return shlex.join(build), shlex.join(run)


def _section(graph: Path, profile: Profile) -> str:
    build, run = trtexec_lines(graph, profile)
    return f"## {graph.name}: batches {profile}, timed at {profile.usual}\n\n```\n{build}\n{run}\n```\n"


def _shapes(takes: Sequence[TensorInfo], batch: int) -> str:
    def sizes(tensor: TensorInfo) -> str:
        return "x".join(str(batch if size == DYNAMIC else size) for size in tensor.shape)

    return ",".join(f"{tensor.name}:{sizes(tensor)}" for tensor in takes)
