"""The gate on what a user has: run directories, which must be up to date, and bench.json files, judged as they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from secateur.benchmarks.environment import differences, environment
from secateur.benchmarks.gate import Verdict, judge
from secateur.benchmarks.limits import COUNT_UNITS, SIZE_UNITS, Limits, parse_amount
from secateur.benchmarks.results_file import BenchResult, read_bench, split_key
from secateur.core.errors import BenchError
from secateur.pipeline.runs.subjects import is_run

if TYPE_CHECKING:
    from secateur.export.devices.device import Remote

Measurement = BenchResult | str | Path
"""A result, a bench.json, or a run directory."""


def gate(
    candidate: Measurement,
    baseline: Measurement | None = None,
    *,
    min_speedup: float | None = None,
    min_relative: float | None = None,
    max_macs: str | float | None = None,
    max_size: str | float | None = None,
    min_top1: float | None = None,
    max_drop: float | None = None,
    max_latency: float | None = None,
    max_p90: float | None = None,
    max_p99: float | None = None,
    max_drift: float | None = None,
    targets: Sequence[str] = (),
) -> Verdict:
    """The verdict on a candidate, alone or against a baseline; see `benchmarks.gate` for what is compared.

    Limits are those of `Limits`; amounts are fractions of dense up to 1, or such as `600M` and `12MB`. Raises
    `BenchError` for a run whose bench.json is not of its present recipe, weights, images and machine, and for results
    that cannot be compared.

    >>> result = sc.bench(small, against=model, targets=["torch:cpu"], seconds=0.1)
    >>> verdict = sc.gate(result, min_speedup=0.01, max_macs=0.5)
    >>> verdict.outcome, [check.name for check in verdict.checks]
    ('pass', ['speedup', 'macs'])
    """
    limits = Limits(
        min_speedup=min_speedup,
        min_relative=min_relative,
        max_macs=None if max_macs is None else parse_amount(str(max_macs), COUNT_UNITS),
        max_size=None if max_size is None else parse_amount(str(max_size), SIZE_UNITS),
        min_top1=min_top1,
        max_drop=max_drop,
        max_latency=max_latency,
        max_p90=max_p90,
        max_p99=max_p99,
        max_drift=max_drift,
        targets=tuple(targets),
    )
    found = read_measurement(candidate)
    verdict = judge(found, None if baseline is None else read_measurement(baseline), limits)
    return replace(verdict, notes=(*_elsewhere(found), *verdict.notes))


def measured_on(
    remote: Remote, run_dir: Path, targets: Sequence[str] = (), say: Callable[[str], None] = lambda message: None
) -> BenchResult:
    """A run's dense against its pruned model on a device over ssh, as its recipe's bench stage asks for.

    Without `targets` on those of the recipe that are not PyTorch's. Accuracy is not measured there. Raises `BenchError`
    for what is no run, or whose graphs are not of what it holds now.
    """
    from secateur.benchmarks.effort import Effort
    from secateur.export.targets import parse_target, typed_targets
    from secateur.pipeline.runs.measure import measure
    from secateur.pipeline.runs.runner import open_run
    from secateur.pipeline.runs.subjects import run_subjects

    if not is_run(run_dir):
        raise BenchError(f"{run_dir} is no run directory, and a device measures the models of one: name a run")
    run = open_run(run_dir)
    if reasons := _overdue(run_dir, "export"):
        raise BenchError(
            f"the graphs in {run_dir} are not of what it holds now ({reasons[0]}): bring them up to date with "
            f"`secateur export {run_dir}`"
        )
    spec, device = run.recipe.bench, remote.device.name
    usual = [name for name in spec.targets if parse_target(name).runtime != "torch"] or ["onnxruntime:cpu"]
    goals = list(targets) or [str(goal) for goal in typed_targets(usual, run.recipe.export.precisions)]
    effort = Effort(spec.seconds, threads=spec.threads, seed=run.recipe.seed, modes=spec.modes)
    effort = effort.exactly(spec.samples)
    (found,) = measure(run_subjects(run_dir, device), goals, spec.batch, effort, say, remote)
    assert isinstance(found, BenchResult)  # for the type checker: two models are compared
    return found


def calibrated(
    candidate: Measurement,
    baseline: Measurement | None,
    min_relative: float | None = None,
    targets: Sequence[str] = (),
    say: Callable[[str], None] = lambda message: None,
) -> list[str]:
    """Measures a run's dense model against itself, where the run was measured, and says which limits can be held.

    Raises `BenchError` where `min_relative` is tighter than that, and for what is no run.
    """
    from secateur.benchmarks.bench import bench_pair
    from secateur.benchmarks.effort import Effort
    from secateur.benchmarks.gating import noise
    from secateur.export.targets import typed_targets
    from secateur.pipeline.runs.runner import open_run
    from secateur.pipeline.runs.subjects import run_subjects

    if isinstance(candidate, BenchResult) or not is_run(Path(candidate)):
        raise BenchError("calibration measures the dense model of a run directory: name the run as the candidate")
    folder, result = Path(candidate), read_measurement(candidate)
    places = {
        (split_key(key)[0], latency.batch): max(1, len(latency.processes))
        for key, latency in result.dense.latency_ms.items()
        if not targets or key in targets or split_key(key)[0] in targets
    }
    run = open_run(folder)
    spec = run.recipe.bench
    every = [str(goal) for goal in typed_targets(spec.targets, run.recipe.export.precisions)]
    goals = [goal for goal in every if any(f"{target}@".startswith(f"{goal}@") for target, _ in places)]
    each = Effort(spec.seconds, processes=spec.processes).part.seconds
    effort = Effort(noise.PROCESSES * each, threads=spec.threads, modes=spec.modes, processes=noise.PROCESSES)
    dense = run_subjects(folder)[0]
    itself = bench_pair(dense, dense, goals, spec.batch, effort, say=say)
    found = [one for one in noise.noises(itself) if one.place in places]
    noise.refuse_too_tight(found, places, Limits(min_relative=min_relative), baseline is not None)
    return [one.said(places[one.place], baseline is not None) for one in found]


def accepted(candidate: Measurement, baseline: Path) -> str:
    """Writes what was measured of `candidate` to the file `baseline`, which need not exist, and says what changes.

    Raises `BenchError` for a run that is not up to date and for a `baseline` that is a folder or something else than a
    bench.json.
    """
    found = read_measurement(candidate)
    if baseline.is_dir():
        raise BenchError(f"{baseline} is a folder: name the bench.json that is the baseline")
    before = read_bench(baseline).speedup if baseline.exists() else {}
    found.save(baseline)
    said = [f"{key} {f'{before[key]} -> ' if key in before else ''}{one}" for key, one in found.speedup.items()]
    return f"{baseline} is the baseline now: {'; '.join(said)}"


def _elsewhere(result: BenchResult) -> list[str]:
    """A note for each target that was measured on another kind of machine than this one."""
    here = environment()
    apart = {key: differences(result.environment, here, split_key(key)[0]) for key in result.speedup}
    return [f"{key} was not measured on this machine: {'; '.join(found)}" for key, found in apart.items() if found]


def read_measurement(what: Measurement) -> BenchResult:
    """What was measured; raises `BenchError` for a run whose measurements are not of what it holds now."""
    if isinstance(what, BenchResult):
        return what
    folder = Path(what)
    if is_run(folder) and (reasons := _overdue(folder, "bench")):
        later = f", and {len(reasons) - 1} later stages" * (len(reasons) > 1)
        raise BenchError(
            f"the measurements in {folder} are not of what it holds now ({reasons[0]}{later}): bring it up to date "
            f"with `secateur bench {folder}`, or judge what was measured with `secateur gate {folder / 'bench.json'}`"
        )
    return read_bench(folder)


def _overdue(folder: Path, stage: str) -> tuple[str, ...]:
    """Why what a stage left in a run directory is not of what the run holds now."""
    from secateur.pipeline.runs.runner import open_run, overdue  # a bench.json alone is judged without all that runs

    return overdue(open_run(folder), stage)
