"""Times both sides of a run layer by layer, in turns, and explains the layers that lost MACs but no time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from secateur.benchmarks.bench import busy_notes, why_not
from secateur.benchmarks.effort import Effort
from secateur.benchmarks.environment import command_line, environment
from secateur.benchmarks.layers.layers_file import LayerProfile
from secateur.benchmarks.layers.match import Matched, match_layers
from secateur.benchmarks.layers.neighbours import Neighbours
from secateur.benchmarks.layers.operations import LayerTimes
from secateur.benchmarks.layers.peak import roofline_of
from secateur.benchmarks.layers.reasons import explain, fell_back
from secateur.benchmarks.layers.timing import measure_layers
from secateur.benchmarks.paired import PairedSamples
from secateur.benchmarks.runners import Goal, Subject, torch_threads
from secateur.core.errors import BenchError
from secateur.core.say import Say
from secateur.export.ort_engine import PROVIDERS
from secateur.export.targets import parse_typed_target

ALONE = 5
"""How many times as long as for all layers together layers are timed alone."""


def profile_layers(
    dense: Subject,
    pruned: Subject,
    target: Goal,
    batch: int = 1,
    seconds: float = 10.0,
    threads: int | None = None,
    seed: int = 0,
    say: Say = lambda message: None,
    processes: int | None = None,
) -> LayerProfile:
    """The layers of both models on `target`, dense beside pruned, with the target's roofline.

    The whole models are timed for `seconds` without a profiler, and their layers for as long with it, both in blocks
    A B B A and over `processes`, one after the other, as `Effort` has them. Layers that nothing else explains are timed
    alone beside their next aligned widths, the slowest first, for at most `ALONE` times as long. Raises `BenchError`
    for a target that cannot be measured here or whose layers cannot be told apart, and what `make_runner` does.
    """
    goal = parse_typed_target(target)
    if batch < 1 or not seconds > 0:
        raise BenchError(f"got a batch of {batch} and {seconds} seconds: give 1 or more, and more than 0")
    if reason := why_not(goal, dense, pruned):
        raise BenchError(f"the layers of {goal} cannot be timed here: {reason}")
    count, notes = threads or torch.get_num_threads(), busy_notes()
    with TemporaryDirectory() as place, torch_threads(count):
        folder = Path(place)
        effort = Effort(seconds, threads=count, seed=seed, processes=processes)
        timing = measure_layers((dense, pruned), goal, batch, effort, say)
        machine = environment(count)
        say("measuring what the target can do at best")
        gpu = machine.gpu.name if machine.gpu else ""
        roofline = roofline_of(goal, gpu, count, seconds / 10, folder)
        provider = PROVIDERS[goal.target.device] if goal.target.runtime == "onnxruntime" else ""
        neighbours = Neighbours(goal, batch, count, seconds / 10, folder, ALONE * seconds, say)
        matched = match_layers(*timing.sides, seed=seed)
        roofline = roofline.raised(layer.row() for layer in matched)
        slowest = sorted(matched, key=lambda layer: -float(sum(layer.pruned.medians)))  # these are to be explained
        reasons = {layer.name: explain(layer, roofline, provider, neighbours) for layer in slowest}
        rows = tuple(layer.row(reasons[layer.name]) for layer in matched)
    whole, parts = timing.whole, timing.sides[0].processes
    speedup = whole.interval(seed)
    return LayerProfile(
        target=str(goal),
        batch=batch,
        rows=rows,
        roofline=roofline,
        environment=machine,
        ms_dense=float(np.median(whole.a_ms)),
        ms_pruned=float(np.median(whole.b_ms)),
        ratio=speedup.ratio,
        low=speedup.low,
        high=speedup.high,
        notes=(
            *(*notes, *timing.notes, _process_note(len(parts) or 1), *_provider_notes(matched, provider)),
            *(*_sum_notes(timing.sides, whole), *neighbours.notes),
        ),
        command=command_line(),
        processes=parts,
    )


def _process_note(count: int) -> str:
    """How many processes are behind the intervals."""
    if count > 1:
        return f"the intervals are over {count} processes, which opened the models one after the other"
    return "the intervals are of one process, which does not know what another one would say"


def _provider_notes(layers: Sequence[Matched], provider: str) -> list[str]:
    """A note where operations run on another provider than was asked for, on either side."""
    notes = []
    for name in ("dense", "pruned"):
        fallen = [one for layer in layers for one in fell_back(getattr(layer, name).operations, provider)]
        if fallen:
            others = ", ".join(dict.fromkeys(one.provider for one in fallen))
            kinds = ", ".join(dict.fromkeys(one.kind for one in fallen))
            notes.append(f"{len(fallen)} operations of the {name} model run on {others}, not on {provider}: {kinds}")
    return notes


def _sum_notes(sides: Sequence[LayerTimes], whole: PairedSamples) -> list[str]:
    """How far the layers' times add up to those of the whole models."""
    sums = [float(np.median(side.ms, 0).sum()) for side in sides]
    alone = [float(np.median(ms)) for ms in (whole.a_ms, whole.b_ms)]
    return [
        f"the layers add up to {sums[0]:.3f} ms (dense) and {sums[1]:.3f} ms (pruned) under the profiler; without it "
        f"the whole models take {alone[0]:.3f} ms and {alone[1]:.3f} ms"
    ]
