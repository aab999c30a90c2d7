"""Curves of several methods and seeds for one run: resumable, in one JSON file and one picture."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from secateur.benchmarks.figure_text import figure_text
from secateur.core.errors import PlanError, RunError
from secateur.core.files import sha256_file, sha256_json
from secateur.core.say import Say
from secateur.core.yaml_text import parse_yaml
from secateur.pipeline.analysis.accuracy import chance_warning
from secateur.pipeline.analysis.pruning_curve import Shape, curve
from secateur.pipeline.data.loader import Loader
from secateur.pipeline.data.sampling import few_shot
from secateur.pipeline.runs.check import check_classifies
from secateur.pipeline.runs.context import Run
from secateur.pipeline.runs.curve_file import CurveFile, DenseCost, TracedCurve
from secateur.pipeline.scores.registry import method_of
from secateur.pipeline.scores.score import score

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Line:
    """A method with its options, as it is named in the legend."""

    label: str
    method: str
    options: Mapping[str, Any]

    def seeds(self, seeds: int, random_seeds: int) -> range:
        """The seeds of the line: more for random scores, one where nothing is drawn."""
        return range({"random": random_seeds, "magnitude": 1}.get(self.method, seeds))


def parse_line(word: str) -> Line:
    """The line of a word such as `taylor` or `lrp:composite=gamma,aggregate=signed`.

    Raises `PlanError` for an unknown method or option.
    """
    name, _, rest = word.partition(":")
    options: dict[str, Any] = {}
    for setting in rest.split(",") if rest else ():
        key, equals, value = setting.partition("=")
        if not equals:
            raise PlanError(f"the method {name!r} got {setting!r}, but options are key=value, such as steps=10")
        try:
            options[key] = parse_yaml(value)
        except ValueError as error:
            raise PlanError(f"the method {name!r} got {setting[:80]!r}, which is not valid YAML: {error}") from error
    method_of(name, options)
    return Line(word, name, options)


def trace_curves(
    run: Run,
    lines: Sequence[Line],
    folder: Path,
    shape: Shape,
    seeds: int = 1,
    random_seeds: int = 20,
    images_per_class: int = 0,
    verify: bool = True,
    report: Say = lambda message: None,
) -> CurveFile:
    """The curves of these lines, measured where `curve.json` in `folder` has them not yet; `curve.png` lies beside it.

    Seeds decide the calibration images (and random scores); accuracy is on the run's evaluation images, of which
    `images_per_class` (0: all) are used. A dense model that might be guessing is warned of. The file is written after
    every point, so that a killed command goes on where it stopped; it keeps the curves of earlier commands too. Raises
    `RunError` when it holds curves measured otherwise.
    """
    check_classifies(run, "curves")
    evaluation = run.data.evaluation
    indices = few_shot(evaluation.labels, images_per_class, run.recipe.seed) if images_per_class else None
    held_out = Loader(evaluation, run.transform, run.recipe.score.batch_size, indices)
    setting = {
        "model": run.model_identity,
        "groups": run.groups.fingerprint(),
        "calibration": run.data.calibration.fingerprint(),
        "evaluation": evaluation.fingerprint(),
        "samples_per_class": run.recipe.score.samples_per_class,
        "images": held_out.samples,
        "shape": asdict(shape),
    }
    dense = DenseCost(run.groups.macs(), run.groups.params())
    content = CurveFile(sha256_json(setting), shape.kinds, shape.allocate, held_out.samples, dense)
    path = folder / "curve.json"
    found = _there(path, content.setting)
    classes, said = len(evaluation.classes), ""
    for line in lines:
        for seed in line.seeds(seeds, random_seeds):
            new = TracedCurve(line.label, seed, _key(line))
            known = {point.rate: point for point in found[new.key].points} if new.key in found else {}
            scores = None
            if any(rate not in known for rate in shape.rates):
                report(f"{line.label}, seed {seed}: scores")
                loader = _calibration(run, seed)
                scores = score(run.dense, run.groups, loader, line.method, seed, **line.options)
            for rate in shape.rates:
                point = known.get(rate)
                if point is None:
                    if scores is None:
                        raise RunError(f"{path} changed while it was in use: run the command again")
                    one = Shape(shape.kinds, shape.allocate, (rate,))
                    (point,) = curve(run.dense, run.groups, scores, held_out, one, verify)
                    report(f"{line.label}, seed {seed}: {point.top1:.1f} % at {rate:.0%} removed")
                    _write(path, content, replace(new, points=(*new.points, point)), found)
                if rate == 0 and not said and (said := chance_warning(point.top1, classes, held_out.samples)):
                    _log.warning(said)
                new = replace(new, points=(*new.points, point))
            content = replace(content, curves=(*content.curves, new.finished()))
            _write(path, content, None, found)
    from secateur.core.figures import save_figure

    save_figure(curves_figure(content), folder / "curve.png")
    return content


def curves_figure(content: CurveFile) -> Figure:
    """Top-1 against the pruning rate and against MACs; a line is the mean over seeds, a band their range."""
    import numpy as np
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.0, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for label in dict.fromkeys(row.label for row in content.curves):
        rows = [row for row in content.curves if row.label == label and row.points]
        if not rows:
            continue
        shortest = min(len(row.points) for row in rows)
        rates, macs, top1 = (
            np.array([[getattr(point, key) for point in row.points[:shortest]] for row in rows])
            for key in ("rate", "macs", "top1")
        )
        for axes, x in ((left, 100 * rates.mean(0)), (right, 100 * macs.mean(0) / content.dense.macs)):
            name = (
                f"{label} ({top1.mean():.1f})" if len(rows) == 1 else f"{label} ({top1.mean():.1f}, {len(rows)} seeds)"
            )
            (drawn,) = axes.plot(x, top1.mean(0), marker=".", label=figure_text(name))
            axes.fill_between(x, top1.min(0), top1.max(0), color=drawn.get_color(), alpha=0.15, linewidth=0)
    left.set_xlabel(figure_text(f"removed units (%): {', '.join(content.kinds)}"))
    right.set_xlabel("MACs left (%)")
    right.invert_xaxis()
    left.set_ylabel("top-1 (%)")
    right.legend(title="method (A_PR)", fontsize=8, frameon=False)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _calibration(run: Run, seed: int) -> Loader:
    """Calibration images drawn by `seed`."""
    images, spec = run.data.calibration, run.recipe.score
    indices = few_shot(images.labels, spec.samples_per_class, run.recipe.seed + seed)
    return Loader(images, run.transform, spec.batch_size, indices)


def _key(line: Line) -> str:
    """A hash of a line's options, a composite's file by its content."""
    named = {key: Path(value) for key, value in line.options.items() if isinstance(value, str)}
    files = {key: sha256_file(path) for key, path in named.items() if path.is_file()}
    return sha256_json({**line.options, **files})


def _there(path: Path, setting: str) -> dict[tuple[str, int, str], TracedCurve]:
    """The curves that are in the file."""
    if not path.exists():
        return {}
    content = CurveFile.load(path)
    if content.setting != setting:
        raise RunError(
            f"{path} holds curves of other images, kinds, rates or another model: choose another --out, or delete it"
        )
    return {row.key: row for row in content.curves}


def _write(
    path: Path, content: CurveFile, begun: TracedCurve | None, found: Mapping[tuple[str, int, str], TracedCurve]
) -> None:
    """Writes what is measured so far, together with what an earlier command left and this one has not reached."""
    rows = [*content.curves, *([begun] if begun else [])]
    here = {row.key for row in rows}
    rows += [row.finished() for key, row in found.items() if key not in here]
    replace(content, curves=tuple(rows)).save(path)
