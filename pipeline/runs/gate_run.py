"""The gate on what a user has: run directories, which must be up to date, and bench.json files, judged as they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from secateur.benchmarks.checks import Place
from secateur.benchmarks.environment import differences, environment
from secateur.benchmarks.gate import Verdict, judge
from secateur.benchmarks.gating.retries import Again, judge_with_retries
from secateur.benchmarks.keys import split_key
from secateur.benchmarks.limits import COUNT_UNITS, ENERGY_UNITS, SIZE_UNITS, Limits, parse_amount
from secateur.benchmarks.modes.mode import mode_of, without_mode
from secateur.benchmarks.results_file import BenchResult, read_bench
from secateur.core.errors import BenchError
from secateur.core.say import Say
from secateur.pipeline.runs.run_folder import RUN, is_ours, is_run

if TYPE_CHECKING:
    from secateur.benchmarks.effort import Effort
    from secateur.export.devices.device import Remote
    from secateur.pipeline.runs.context import Run

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
    max_energy: str | float | None = None,
    min_fidelity: float | None = None,
    max_parity: float | None = None,
    align: int | None = None,
    targets: Sequence[str] = (),
    retries: int = 0,
    again: Callable[[], BenchResult] | None = None,
    remote: Remote | None = None,
    trust: bool = False,
    say: Say = lambda message: None,
) -> Verdict:
    """The verdict on a candidate, alone or against a baseline; see `benchmarks.gate` for what is compared.

    Limits are those of `Limits`; amounts are fractions of dense up to 1, or such as `600M`, `12MB` and `5mJ`. What is
    inconclusive is measured again up to `retries` times (see `gating.retries`): a run as its bench stage does, and
    another candidate by `again`. With `remote` a run is measured on that device. Raises `BenchError` for a run whose
    bench.json is not of its present recipe, weights, images and machine, and for results that cannot be compared, and
    `RunError` for a run that would import code which this user never ran here, unless `trust` says that it may.

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
        max_energy=None if max_energy is None else parse_amount(str(max_energy), ENERGY_UNITS),
        min_fidelity=min_fidelity,
        max_parity=max_parity,
        align=align,
        targets=tuple(targets),
    )
    if trust:
        from secateur.pipeline.runs.runner import trust_runs

        trust_runs(candidate, baseline)
    before = None if baseline is None else read_measurement(baseline)
    found = read_measurement(candidate) if remote is None else measured_on(remote, _folder(candidate), targets, say)
    cosines = () if min_fidelity is None or isinstance(candidate, BenchResult) else _cosines(Path(candidate))
    if retries:
        measure_again = _again(candidate, again, remote, say)
        verdict = judge_with_retries(found, before, limits, measure_again, retries, cosines)
    else:
        verdict = judge(found, before, limits, fidelity=cosines)
    elsewhere = () if remote else _elsewhere(found)
    return replace(verdict, notes=(*elsewhere, *verdict.notes))


def measured_on(
    remote: Remote,
    run_dir: Path,
    targets: Sequence[str] = (),
    say: Say = lambda message: None,
    batches: Sequence[int] = (),
) -> BenchResult:
    """A run's dense against its pruned model on a device over ssh, as its recipe's bench stage asks for.

    Without `targets` on those of the recipe that are not PyTorch's, which are noted; they may name their batch too
    (`tensorrt@fp16@b8`). Without `batches` on those, and on the recipe's where a target names none. Accuracy is not
    measured there. Raises `BenchError` for what is no run, or whose graphs are not of what it holds now.
    """
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
    keys = [split_key(target) for target in targets]
    goals = list(dict.fromkeys(name for name, _ in keys))
    goals = goals or [str(goal) for goal in typed_targets(usual, run.recipe.export.precisions)]
    named = [batch for _, batch in keys if batch is not None]
    sizes = dict.fromkeys(batches or (named if len(named) == len(keys) > 0 else (*spec.batch, *named)))
    (found,) = measure(run_subjects(run_dir, device), goals, list(sizes), _effort(run), say, remote)
    assert isinstance(found, BenchResult)  # for the type checker: two models are compared
    unused = [name for name in spec.targets if not targets and parse_target(name).runtime == "torch"]
    notes = [f"{name} was asked for and not measured: PyTorch is not used on devices" for name in unused]
    return replace(found, notes=(*found.notes, *notes))


def measured_again(run_dir: Path, places: Sequence[Place], say: Say = lambda message: None) -> BenchResult:
    """A run's dense against its pruned model on these targets and batches, as its bench stage measures them."""
    from secateur.benchmarks.narrow import with_narrowed
    from secateur.export.targets import parse_typed_target
    from secateur.pipeline.runs.measure import measure
    from secateur.pipeline.runs.runner import open_run
    from secateur.pipeline.runs.subjects import run_subjects

    run = open_run(run_dir)
    modes = dict.fromkeys(str(mode_of(target)) for target, _ in places)
    effort, subjects = replace(_effort(run), modes=tuple(modes)), run_subjects(run_dir)
    goals, batches = _goals_of(places)
    (found,) = measure(subjects, goals, batches, effort, say)
    assert isinstance(found, BenchResult)  # for the type checker: two models are compared
    typed = [parse_typed_target(goal) for goal in goals]
    return with_narrowed(found, subjects[1], typed, batches, effort, say)


def _again(candidate: Measurement, again: Callable[[], BenchResult] | None, remote: Remote | None, say: Say) -> Again:
    """What measures a candidate again; raises `BenchError` for a file, which nothing can measure."""
    if again is not None:
        return lambda places: again()
    if remote is not None:
        return lambda places: measured_on(remote, _folder(candidate), *_on(places, say))
    if isinstance(candidate, BenchResult) or not is_run(Path(candidate)):
        named = "a result" if isinstance(candidate, BenchResult) else str(candidate)
        raise BenchError(f"retries measure again, and {named} is no run directory: name the run, or give no retries")
    return lambda places: measured_again(Path(candidate), places, say)


def _on(places: Sequence[Place], say: Say) -> tuple[list[str], Say, list[int]]:
    goals, batches = _goals_of(places)
    return goals, say, batches


def _goals_of(places: Sequence[Place]) -> tuple[list[str], list[int]]:
    """The targets with their precisions, and the batches."""
    goals = dict.fromkeys(without_mode(target) for target, _ in places)
    return list(goals), list(dict.fromkeys(batch for _, batch in places))


def _effort(run: Run) -> Effort:
    """How long a run's bench stage measures."""
    from secateur.benchmarks.effort import Effort

    return Effort.of(run.recipe.bench, run.recipe.seed)


def _folder(candidate: Measurement) -> Path:
    if isinstance(candidate, BenchResult):
        raise BenchError("a result was given, but a device measures the models of a run: name a run directory")
    return Path(candidate)


def _cosines(path: Path) -> tuple[float, ...]:
    """Of a run the agreement of both models' maps for each image, from the fidelity.json beside its bench.json.

    Raises `BenchError` where there is none, or it is not of the models that the run holds now.
    """
    from secateur.core.files import sha256_once
    from secateur.pipeline.analysis.fidelity_file import FidelityFile
    from secateur.pipeline.runs.manifest import read_manifest

    folder = path if path.is_dir() else path.parent
    file, remedy = folder / "fidelity.json", f"`secateur report {folder}` with report.images above 1 makes it"
    if not file.is_file():
        raise BenchError(f"a limit on fidelity was given, but there is no {file}: {remedy}")
    if is_run(folder):
        entry = read_manifest(folder).get("report")
        made = entry.outputs if entry else {}
        files = {name: digest for name, digest in entry.reads.items() if (folder / name).is_file()} if entry else {}
        known = {file.name: made.get(file.name, ""), **files}
        if changed := [name for name, digest in known.items() if sha256_once(folder / name) != digest]:
            raise BenchError(f"{file} is not of what the run holds now ({changed[0]} was changed): {remedy} anew")
    return FidelityFile.load(file).cosine


def calibrated(
    candidate: Measurement,
    baseline: Measurement | None,
    min_relative: float | None = None,
    targets: Sequence[str] = (),
    say: Say = lambda message: None,
) -> list[str]:
    """Measures a run's dense model against itself, where the run was measured, and says which limits can be held.

    Raises `BenchError` where `min_relative` is tighter than that, and for what is no run.
    """
    from secateur.benchmarks.bench import bench_pair
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
    asked, count = _effort(run), noise.PROCESSES
    part = asked.part
    effort = replace(asked, seconds=count * part.seconds, samples=count * part.samples, processes=count)
    dense = run_subjects(folder)[0]
    itself = bench_pair(dense, dense, goals, spec.batch, effort, say=say)
    found = [one for one in noise.noises(itself) if one.place in places]
    noise.refuse_too_tight(found, places, Limits(min_relative=min_relative), baseline is not None)
    return [one.said(places[one.place], baseline is not None) for one in found]


def accepted(candidate: Measurement, baseline: Path) -> str:
    """Writes what was measured of `candidate` to the file `baseline`, which need not exist, and says what changes.

    Raises `BenchError` for a run that is not up to date and for a `baseline` that is a folder, something else than a
    bench.json, or that of a run.
    """
    found = read_measurement(candidate)
    if baseline.is_dir():
        raise BenchError(f"{baseline} is a folder: name the bench.json that is the baseline")
    if baseline.name == "bench.json" and is_ours(baseline.resolve().parent, RUN):
        raise BenchError(f"{baseline} is what a run has measured, which `secateur bench` changes: name another file")
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
