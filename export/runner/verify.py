"""Whether a bundle is right and as fast as it says, on this device: checksums, engines, golden replay, latency."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Callable, Sequence

import numpy as np

from .bench import Interval, Say, measure
from .bundle import Bundle, open_bundle
from .engines import Versions, installed_version, mismatch, named, unavailable
from .errors import InferenceError, UnavailableError, WrongEngineError
from .evidence import Evidence, Latency, parse_evidence
from .golden import batch_of, golden_inputs, replay, within
from .labels import parse_labels
from .machine import Here, this_machine
from .manifest import EVIDENCE, LABELS, PREPROCESSING, Built
from .preprocess import Preprocessing, parse_preprocessing
from .runtimes import open_model
from .sensors.conditions import Conditions

SCHEMA = "secateur.verify/1"
KEEPS = 0.9
"""The share of the evidence's ratio, of the lower end of its interval, that must be reached here."""
ROUNDING = 2.5 / 255
"""How far, on the scale of pixels, a picture may come out of another version of Pillow."""
EXIT = {"pass": 0, "fail": 1, "inconclusive": 3}
OUTCOMES = {*EXIT, "skipped"}
Open = Callable[[Path, str, "int | None", str], Any]


@dataclass(frozen=True)
class Check:
    """One thing that was looked at: `pass`, `fail`, `inconclusive`, or `skipped` with what was not checked and why.

    `value` is judged by `limit`, where there are numbers.
    """

    name: str
    where: str
    outcome: str
    said: str
    value: float | None = None
    limit: float | None = None


@dataclass(frozen=True)
class Verdict:
    """All checks in their order; the first that fails decides, then the first that is inconclusive.

    `conditions` is what the device was like meanwhile, where its sensors were read.
    """

    bundle: str
    checks: tuple[Check, ...]
    notes: tuple[str, ...] = ()
    conditions: Conditions | None = None

    @property
    def outcome(self) -> str:
        """`pass`, `fail` or `inconclusive`."""
        return self.deciding.outcome if self.deciding else "pass"

    @property
    def deciding(self) -> Check | None:
        """The first check that failed, or else the first that is inconclusive; None where all passed."""
        for outcome in ("fail", "inconclusive"):
            for check in self.checks:
                if check.outcome == outcome:
                    return check
        return None

    @property
    def exit_code(self) -> int:
        """0 pass, 1 fail, 3 inconclusive."""
        return EXIT[self.outcome]

    @property
    def sentence(self) -> str:
        """The verdict in a sentence, with the first thing that is wrong."""
        if self.deciding is None:
            done = [check for check in self.checks if check.outcome == "pass"]
            return f"pass ({len(done)} checks)"
        return f"{self.outcome}: {self.deciding.name} {self.deciding.where}: {self.deciding.said}"

    def lines(self) -> list[str]:
        """The verdict as lines to print: a check each, notes, and the sentence."""
        lines = [f"{one.outcome:12}  {one.name:13}  {one.where:24}  {one.said}" for one in self.checks]
        return [*lines, *(f"note: {note}" for note in self.notes), self.sentence]

    def to_json(self) -> dict[str, Any]:
        """The verdict as JSON."""
        said = {"outcome": self.outcome, "sentence": self.sentence, "exit_code": self.exit_code}
        return {"schema": SCHEMA, **asdict(self), **said}


def verify(
    path: Path,
    targets: Sequence[str] = (),
    *,
    seconds: float = 3.0,
    latency: bool = True,
    threads: int | None = None,
    say: Say = lambda message: None,
    here: Here | None = None,
    versions: Versions = installed_version,
    opening: Open = open_model,
) -> Verdict:
    """The verdict on the bundle in a folder or an archive, for the engines of `targets`, or for all that are for here.

    Latency is measured for `seconds` a target, with the evidence's number of threads unless `threads` are given. Raises
    `BundleError` with the first thing that is wrong with the files, and `RunnerError` for a target that is not there.
    """
    here = here or this_machine()
    say("checksums")
    with open_bundle(path) as bundle:
        checks = [Check("checksums", path.name, "pass", f"{len(bundle.manifest.files)} files are as they were made")]
        evidence = parse_evidence(bundle.read(EVIDENCE))
        parse_labels(bundle.read(LABELS), bundle.manifest.classes)
        recipe = parse_preprocessing(bundle.read(PREPROCESSING))
        inputs = golden_inputs(bundle)
        fitting, about = _engines(bundle, targets, here, versions)
        checks += about
        if fitting:
            checks.append(_preprocessing(bundle, recipe, inputs))
        for engine in fitting:
            say(f"golden inputs on {engine.name}")
            checks.append(_golden(bundle, engine, threads, opening))
        for engine in fitting:
            if all(check.outcome != "fail" for check in checks):
                checks.append(
                    _latency(bundle, engine, evidence, here, seconds if latency else 0, threads, opening, say)
                )
        return Verdict(path.name, tuple(checks), bundle.notes)


def with_conditions(verdict: Verdict, seen: Conditions) -> Verdict:
    """The verdict with what the device was like, and a check of throttling.

    It passes where the device was watched from end to end and nothing was held back. A latency that was measured while
    the device was held back is inconclusive; what was not watched is said, and passes for nothing.
    """
    timed = any(check.name == "latency" and check.outcome != "skipped" for check in verdict.checks)
    said = "; ".join((*seen.throttled, *seen.faults)) or "nothing was held back"
    outcome = "pass" if seen.clean else "inconclusive" if seen.throttled and timed else "skipped"
    throttling = Check("throttling", "", outcome, said)
    return replace(verdict, checks=(*verdict.checks, throttling), conditions=seen)


def _engines(bundle: Bundle, targets: Sequence[str], here: Here, versions: Versions) -> tuple[list[Built], list[Check]]:
    """The engines that fit this device, and what is to be said of each.

    One that is for another device fails where it was named, or where no other engine of its runtime fits.
    """
    engines = bundle.manifest.engines
    wanted = [named(engines, target, here, versions) for target in targets] or list(engines)
    fitting, said = [], []
    for engine in wanted:
        missing = unavailable(engine, here, versions)
        wrong = "" if missing else mismatch(engine, here, versions)
        said.append((engine, missing, wrong))
        if not missing and not wrong:
            fitting.append(engine)
    served = {engine.runtime for engine in fitting}
    checks = []
    for engine, missing, wrong in said:
        if missing:
            checks.append(Check("engine", engine.name, "inconclusive" if targets else "skipped", missing))
        elif wrong:
            refused = bool(targets) or engine.runtime not in served
            checks.append(Check("engine", engine.name, "fail" if refused else "skipped", wrong))
        else:
            version = versions(engine.runtime)
            changed = (
                "" if version == engine.runtime_version else f", not {engine.runtime_version} as where it was made"
            )
            checks.append(Check("engine", engine.name, "pass", f"{engine.runtime} {version} is here{changed}"))
    if not fitting and all(check.outcome == "skipped" for check in checks):
        checks.append(Check("engine", "any", "inconclusive", "no engine of the bundle can be run on this machine"))
    return fitting, checks


def _preprocessing(bundle: Bundle, recipe: Preprocessing, inputs: dict[str, Any]) -> Check:
    """Whether the golden images become the golden inputs here."""
    if len(inputs) != 1:
        return Check("preprocessing", "", "skipped", "the model has several inputs")
    (array,) = inputs.values()
    worst = 0.0
    for index, name in enumerate(bundle.manifest.golden.images):
        try:
            made = recipe.input_from(bundle.read(name), name)
        except UnavailableError as error:
            return Check("preprocessing", "", "skipped", str(error))
        except InferenceError as error:
            return Check("preprocessing", name, "fail", str(error))
        if made.shape[1:] != array.shape[1:]:
            return Check("preprocessing", name, "fail", f"it becomes {list(made.shape)}, not {list(array.shape[1:])}")
        off = float(abs(made[0].astype("float64") - array[index]).max())
        worst = float(
            np.maximum(worst, off / 255 if recipe.inside else off * min(recipe.std))
        )  # keeps what is no number
    outcome = "pass" if worst <= ROUNDING else "fail"
    said = f"the golden images become the golden inputs within {255 * worst:.2g} of 255 steps of a pixel"
    return Check("preprocessing", "", outcome, said, _finite(worst), ROUNDING)


def _finite(value: float) -> float | None:
    """The value, or None where it is infinite or no number, which JSON does not have."""
    return value if math.isfinite(value) else None


def _golden(bundle: Bundle, engine: Built, threads: int | None, opening: Open) -> Check:
    """Whether an engine gives the golden outputs."""
    graph = bundle.manifest.graph(engine.precision)
    try:
        with opening(bundle.path(engine.path), engine.target, threads, engine.lean) as model:
            found = replay(model, bundle, engine)
    except (InferenceError, UnavailableError, WrongEngineError) as error:
        return Check("golden", engine.name, "fail", str(error))
    worst = max(found, key=lambda one: (not within(one, graph), one.relative))
    outcome = "pass" if all(within(one, graph) for one in found) else "fail"
    said = (
        f"{worst.output} is off by {worst.relative:.2g} of its scale ({graph.tolerance:g} allowed), its cosine is "
        f"{worst.cosine:.6f} ({graph.cosine:g} needed), top-1 agrees for {worst.agreement:.0%} of the golden images"
    )
    return Check("golden", engine.name, outcome, said, _finite(worst.relative), graph.tolerance)


def _latency(
    bundle: Bundle,
    engine: Built,
    evidence: Evidence,
    here: Here,
    seconds: float,
    threads: int | None,
    opening: Open,
    say: Say,
) -> Check:
    """Whether an engine is as much faster than the bundle's dense one as the evidence says."""
    told = None if engine.device else evidence.latency_of(engine.key)
    graph = bundle.manifest.graph(engine.precision)
    dense = engine.dense or (graph.dense if engine.runtime == "onnxruntime" else "")
    reason = (
        "it was not asked for"
        if not seconds
        else "the bundle holds no dense model to compare with"
        if not dense
        else "the evidence has no latency of it"
        if told is None
        else ""
    )
    if reason or told is None:
        return Check("latency", engine.name, "skipped", f"not checked: {reason}")
    say(f"latency on {engine.name}")
    count = threads or evidence.machine.threads
    try:
        found = _ratio(bundle, engine, dense, told, count, seconds, opening, say)
    except (InferenceError, UnavailableError, WrongEngineError) as error:
        return Check("latency", engine.name, "fail", str(error))
    limit = KEEPS * told.low
    apart = evidence.machine.differences(here, engine.target)
    if not apart and count != evidence.machine.threads:
        apart = f"measured with {evidence.machine.threads} threads, and these are {count}"
    if apart:  # the evidence's ratio says little of another machine, but slower than dense is wrong on any
        said = f"{found} times as fast as dense here; not judged by the evidence ({told.ratio:.3f}): {apart}"
        if told.ratio <= 1 or found.low >= 1:
            return Check("latency", engine.name, "skipped", said, found.ratio)
        outcome = "fail" if found.high < 1 else "inconclusive"
        return Check("latency", engine.name, outcome, f"{said}; but dense must not be the faster one", found.ratio, 1)
    outcome = "pass" if found.low >= limit else "fail" if found.high < limit else "inconclusive"
    evident = f"{told.ratio:.3f} [{told.low:.3f}, {told.high:.3f}]"
    said = f"{found} times as fast as dense here, the evidence says {evident}, and {limit:.3f} is needed"
    return Check("latency", engine.name, outcome, said, found.ratio, limit)


def _ratio(
    bundle: Bundle,
    engine: Built,
    dense: str,
    told: Latency,
    threads: int,
    seconds: float,
    opening: Open,
    say: Say,
) -> Interval:
    """How many times faster an engine is than the dense one here."""
    feeds = {name: batch_of(array, told.batch) for name, array in golden_inputs(bundle).items()}
    with opening(bundle.path(engine.path), engine.target, threads, engine.lean) as small, opening(
        bundle.path(dense), engine.target, threads, engine.lean
    ) as large:
        return measure(small.prepare(feeds), large.prepare(feeds), seconds, say=say).speedup
