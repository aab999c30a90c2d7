"""A measurement of the kernels on this machine's GPU: each result is written as it comes, and no error takes others."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from secateur.benchmarks.gpu_checks import FAILURES, Check, reason_of, run_checks
from secateur.benchmarks.gpu_clock import graph_samples_us, rotation_length
from secateur.benchmarks.gpu_contenders import Contender, contenders
from secateur.benchmarks.gpu_problems import Problem, problems
from secateur.benchmarks.gpu_rows import KIND, described, goals, resources_for
from secateur.benchmarks.roofline import peak_of, peak_of_device
from secateur.core.errors import BenchError
from secateur.core.files import write_json
from secateur.kernels.launch import device_limits, why_not
from secateur.kernels.resources import Resources


def measure(head: Mapping[str, Any], kernels: tuple[Resources, ...], samples: int, place: Path, sheet: str = "") -> int:
    """Writes checks and times of the current GPU to `place`; 1 where a check or a contender failed, else 0.

    `sheet` names the GPU's data sheet where its driver does not. Raises `BenchError` where no kernel can be launched,
    and where the GPU's context is lost: what came before is in the file.
    """
    reason = why_not()
    if reason:
        raise BenchError(f"the GPU suite cannot run here ({reason}): use --dry for the prediction")
    name, limits = torch.cuda.get_device_name(), device_limits(torch.device("cuda"))
    peak = peak_of(sheet) if sheet else peak_of_device(name, limits)
    if peak is None:
        print(f"the peaks of {name!r} are not known: no rooflines (--device names a data sheet)", file=sys.stderr)
    content: dict[str, Any] = {
        **head, "mode": "measured", "complete": False, "device": {"name": name, **asdict(limits)},
        "peak": asdict(peak) if peak else None, "checks": [], "rows": [],
    }  # fmt: skip
    failed = False
    for check in run_checks(limits):
        failed |= not check.passed
        _add(place, content, "checks", asdict(check))
    wrong = _wrong_kernels(content["checks"])
    own = resources_for(kernels, limits.capability)
    for problem in problems():
        times = {one.name: _time(one, samples) for one in contenders(problem)}
        failed |= any(isinstance(time, dict) and "failure" in time for time in times.values())
        row = {**described(problem, limits, own, peak), "checked": problem.kernel not in wrong, "times_us": times}
        content["goals"] = goals([*content["rows"], row])
        _add(place, content, "rows", row)
        print(f"{problem.name} {problem.dtype} x{problem.rows}: {_summary(times)}", file=sys.stderr)
        _still_alive(problem, place)
    write_json(place, KIND, {**content, "complete": True})
    return int(failed)


def _time(contender: Contender, samples: int) -> dict[str, Any]:
    """Percentiles and raw samples of one contender, over copies of its buffers that outgrow the caches.

    Or why it is not taken (`refused`), or what it raised (`failure`).
    """
    try:
        refused = contender.refuse()
        if refused:
            return {"refused": refused}
        first = contender.make()
        copies = rotation_length(sum(tensor.nbytes for tensor in first))
        buffers = [first, *(contender.make() for _ in range(copies - 1))]
        calls = [lambda held=held: contender.call(*held) for held in buffers]
        found = graph_samples_us(calls, samples)
    except FAILURES as error:
        return {"failure": reason_of(error)}
    return {"p50": statistics.median(found), "samples": found}


def _wrong_kernels(checks: list[dict[str, Any]]) -> set[str]:
    """The kernels of which any check failed, by the names that problems have for them."""
    kernels = ("ragged_attention", "window_attention", "residual_layernorm", "bias_gelu")
    failed = [str(check["kernel"]) for check in checks if not Check(**check).passed]
    return {kernel for kernel in kernels if any(name.startswith(kernel) for name in failed)}


def _summary(times: Mapping[str, dict[str, Any]]) -> str:
    return ", ".join(
        f"{name} {time['p50']:.1f} us" if "p50" in time else f"{name} {'refused' if 'refused' in time else 'failed'}"
        for name, time in times.items()
    )


def _add(place: Path, content: dict[str, Any], key: str, value: object) -> None:
    """Adds to a list of the content and writes the whole file again."""
    content[key].append(value)
    write_json(place, KIND, content)


def _still_alive(problem: Problem, place: Path) -> None:
    """Raises `BenchError` where an error has ended the GPU's context, after which every call fails."""
    try:
        torch.cuda.synchronize()
    except FAILURES as error:
        raise BenchError(
            f"the GPU's context was lost at {problem.name} {problem.dtype} x{problem.rows} ({reason_of(error)}): "
            f"what was measured before is in {place}"
        ) from error
