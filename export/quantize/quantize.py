"""A float32 ONNX graph in 8 bits: calibrated, evened out, corrected, and judged on images that calibrated nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from secateur.core.errors import ExportError
from secateur.core.files import sha256_file, sha256_json
from secateur.core.say import Say
from secateur.export.graph_file import write_graph
from secateur.export.graph_types import declared_precisions, graph_precision, graph_tensors, read_graph
from secateur.export.half.measure import float32_nodes
from secateur.export.half.narrow import narrow
from secateur.export.onnx_info import OnnxInfo, note_kept, onnx_info
from secateur.export.quantize.correct import correct
from secateur.export.quantize.formats import FORMATS, Format
from secateur.export.quantize.graph_edit import drop_unused, read_program
from secateur.export.quantize.insert import insert
from secateur.export.quantize.limit import Judge, Limit, Limited
from secateur.export.quantize.measure import Measurements, measure
from secateur.export.quantize.mixed import keep_limit
from secateur.export.quantize.observe import CalibrationFeeds, feeds_of, observed
from secateur.export.quantize.placement import Placement, place
from secateur.export.quantize.product_macs import product_macs, product_modules
from secateur.export.quantize.ranges import RULES, Rule, reach
from secateur.export.quantize.sensitivity import Sensitivity, sensitivities
from secateur.export.quantize.spec import Quantization
from secateur.export.quantize.trials import Trials

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True)
class Quantized:
    """How a graph was quantised: by which `rule`, on how many `images`, and with which error.

    `errors` are those of the rules that were tried, on the images held out from the calibration: the mean squared
    error of the outputs over their variance. `products` run in 8 bits, `kept` do not for the reasons given; `recentred`
    and `balanced` LayerNorms were evened out and `corrected` biases changed. `limited` says what a limit on the loss
    led to.
    """

    rule: str
    errors: Mapping[str, float]
    images: int
    products: int
    recentred: int
    balanced: int
    corrected: int
    kept: Mapping[str, str]
    limited: Limited | None = None


def quantize_onnx(
    source: str | Path,
    path: str | Path,
    calibration: Iterable[Any],
    precision: str = "int8",
    options: Quantization | None = None,
    *,
    cache: str | Path | None = None,
    limit: Limit | None = None,
    say: Say = lambda message: None,
) -> tuple[OnnxInfo, Quantized]:
    """Writes the float32 graph at `source` to `path` with its products in `precision` (`int8`, `fp8`), as Q/DQ pairs.

    `calibration` is any iterable of (images, labels) that can be read several times; labels are not looked at. A
    `cache` is a file of what is measured: written where there is none, and else read instead of measuring. With a
    `limit`, products stay wider as far as it asks for that (see `mixed.keep_limit`). Inputs and outputs stay float32;
    what is between the products is `options.rest`, fp16 by default, but for the nodes that this cannot hold:
    `OnnxInfo.kept` says which and why. Raises `ExportError` for a graph that is quantised already
    or not float32, for images that are too few or all alike, for a cache of another graph, other images or other
    options, and where nothing can run in 8 bits; `path` is then left as it was. `MissingPackageError` without ONNX
    Runtime.

    >>> _ = sc.export_onnx(small, "small.onnx")
    >>> info, how = sc.quantize_onnx("small.onnx", "small.int8.onnx", loader)
    >>> info.precision, how.products, how.images, how.errors[how.rule] < 0.05
    ('int8', 8, 10, True)
    """
    ready = _calibrated(Path(source), calibration, precision, options or Quantization(), cache, say)
    for word, error in ready.errors.items():
        say(f"{word}: {error:.2%} of the variance of the outputs is lost")
    returned: dict[str, str] = {}
    limited = None
    if limit is not None:
        macs = product_macs(ready.plain, ready.feeds.judging())
        returned, limited = keep_limit(
            *(ready.plain, ready.placement, macs, precision, ready.write, limit, ready.identity, say, ready.form.rest)
        )
        say(limited.said)
    chosen, placement, corrected = ready.mixed(returned)
    external = ready.finish(chosen, Path(path))
    how = Quantized(
        ready.rule,
        ready.errors,
        ready.feeds.images,
        len(placement.products),
        len(ready.seen.middles),
        len(ready.seen.largest),
        len(corrected),
        placement.kept,
        limited,
    )
    return onnx_info(Path(path), external), how


def product_sensitivities(
    source: str | Path,
    calibration: Iterable[Any],
    judge: Judge,
    precision: str = "int8",
    options: Quantization | None = None,
    trials: Path | None = None,
    say: Say = lambda message: None,
) -> tuple[Sensitivity, ...]:
    """What the answers lose where one product of the float32 graph at `source` alone is in `precision`, for each.

    The arguments are those of `quantize_onnx`; `trials` is a file of what was measured. Raises what that does.
    """
    ready = _calibrated(Path(source), calibration, precision, options or Quantization(), None, say)
    names = [product.node for product in ready.placement.products]
    say(f"measuring what each of {len(names)} products costs in {precision}")
    costs = sensitivities(names, ready.write, judge, Trials(f"{ready.identity} {judge.identity}", trials))
    macs = product_macs(ready.plain, ready.feeds.judging())
    modules = product_modules(ready.plain)
    return tuple(Sensitivity(name, modules[name], macs[name], costs.get(name)) for name in macs)


@dataclass(frozen=True)
class _Calibrated:
    """A graph that is ready for 8 bits: balanced, measured, and with the rule that loses least chosen.

    `plain` is the program with its biases as they were; where `corrects`, they take in what rounding shifts.
    """

    plain: ir.Model
    placement: Placement
    form: Format
    feeds: CalibrationFeeds
    seen: Measurements
    rule: Rule
    reaches: Mapping[str, float]
    unsigned: frozenset[str]
    errors: Mapping[str, float]
    corrects: bool
    kept: Mapping[str, str]
    identity: str

    def mixed(self, wide: Mapping[str, str]) -> tuple[ir.Model, Placement, tuple[str, ...]]:
        """The program in 8 bits but for the products `wide`, its placement, and the products with changed biases."""
        made, rest = self.plain.clone(), self.placement.without(self.plain, wide)
        changed = correct(made, rest, self.seen.means, self.form) if self.corrects else ()
        insert(made, rest, self.reaches, self.form, self.unsigned)
        return made, rest, changed

    def write(self, wide: Iterable[str], path: Path) -> None:
        """Writes the graph whose products of these names are wide."""
        self.finish(self.mixed(dict.fromkeys(wide, "a trial"))[0], path)

    def finish(self, made: ir.Model, path: Path) -> str:
        """Writes a program with the rest of it in its type; returns the file of its weights, if they are in one."""
        if self.form.rest != "fp32":
            note_kept(made, narrow(made, self.form.rest, self.kept), self.feeds.images)
        return _write(made, path, self.form.word)


def _calibrated(
    source: Path,
    calibration: Iterable[Any],
    precision: str,
    options: Quantization,
    cache: str | Path | None,
    say: Say,
) -> _Calibrated:
    """What `quantize_onnx` knows of the graph at `source` before it takes any product back; raises what it does."""
    form = replace(_format(precision), rest="fp16" if options.rest == "target" else options.rest)
    content = read_graph(source)
    program = read_program(source)
    placement = place(program, options.keep, options.ends, precision, options.runtime)
    if (found := graph_precision(declared_precisions(content))) != "fp32":
        raise ExportError(f"{source.name} is typed in {found}, but 8 bits start from an fp32 graph: give that one")
    feeds = feeds_of(calibration, graph_tensors(content)[0])
    say(f"calibrating {len(placement.products)} products on {feeds.images} images")
    names = [str(value.name) for value in program.graph.outputs]
    wanted = list(observed(program, names, feeds.judging()))
    seen = _measurements(program, placement, feeds, options, source, cache)
    positive = (name for name, one in seen.histograms.items() if one.lowest >= 0)
    unsigned = frozenset(positive if options.runtime == "onnxruntime" else ())
    known = placement.fixed if options.softmax == "one" else {}
    plain = program.clone()
    corrected = correct(program, placement, seen.means, form) if options.correct else ()

    def reaches(rule: Rule) -> dict[str, float]:
        return {
            name: known.get(name) or reach(one, rule, (form.without_sign() if name in unsigned else form).round)
            for name, one in seen.histograms.items()
        }

    def lost(start: ir.Model, rule: Rule) -> float:
        made = start.clone()
        insert(made, placement, reaches(rule), form, unsigned)
        found = observed(made, names, feeds.judging(), as_written=form.word == "fp8")  # it has no kernels in any case
        return _error(wanted, found)

    errors: dict[str, float] = {rule: lost(program, rule) for rule in _rules(form, options)}
    best = min(_rules(form, options), key=errors.__getitem__)
    corrects = bool(corrected)
    if corrects:
        errors[uncorrected := f"{best}, biases as they were"] = lost(plain, best)
        corrects = errors[uncorrected] >= errors[best]
    kept = float32_nodes(program, form.rest, feeds.every()) if form.rest != "fp32" else {}
    identity = sha256_json([_origin(source, feeds, options), asdict(options), precision, best, corrects])
    return _Calibrated(
        plain, placement, form, feeds, seen, best, reaches(best), unsigned, errors, corrects, kept, identity
    )


def _write(program: ir.Model, path: Path, precision: str) -> str:
    """Writes the finished graph; returns the name of the file of its weights, where they are in one."""
    drop_unused(program)
    program.metadata_props["secateur.precision"] = precision
    return write_graph(program, path)


def _origin(source: Path, feeds: CalibrationFeeds, options: Quantization) -> dict[str, str]:
    """The hashes of what decides a calibration."""
    how = sha256_json([options.recentre, options.balance, list(options.keep), options.ends, options.runtime])
    return {"graph": sha256_file(source), "images": feeds.digest, "options": how}


def _format(precision: str) -> Format:
    if precision not in FORMATS:
        raise ExportError(f"the precision {precision!r} is not one of {', '.join(FORMATS)}: choose one")
    return FORMATS[precision]


def _rules(form: Format, options: Quantization) -> tuple[Rule, ...]:
    """The rules to try; the entropy of int8's levels says nothing about fp8's."""
    if options.rule == "entropy" and form.word != "int8":
        raise ExportError(f"the rule 'entropy' is about the levels of int8: choose another one for {form.word}")
    if options.rule != "measured":
        return (options.rule,)
    return tuple(rule for rule in RULES if rule != "entropy" or form.word == "int8")


def _measurements(
    program: ir.Model,
    placement: Placement,
    feeds: CalibrationFeeds,
    options: Quantization,
    source: Path,
    cache: str | Path | None,
) -> Measurements:
    """What is measured in the program, which is balanced by it; from the cache where there is one of just this."""
    origin = _origin(source, feeds, options)
    if cache is not None and Path(cache).is_file():
        known = Measurements.load(Path(cache), origin)
        known.prepare(program, placement, options.balance)
        return known
    found = measure(program, placement, feeds, options.balance, options.recentre)
    if cache is not None:
        found.save(Path(cache), origin)
    return found


def _error(wanted: Iterable[Mapping[str, NDArray[Any]]], found: Iterable[Mapping[str, NDArray[Any]]]) -> float:
    """The mean squared error of all outputs over their variance; the outputs count alike."""
    pairs = list(zip(wanted, found, strict=True))
    shares = []
    for name in pairs[0][0]:
        true = np.concatenate([one[name].ravel() for one, _ in pairs]).astype(np.float64)
        other = np.concatenate([one[name].ravel() for _, one in pairs]).astype(np.float64)
        shares.append(float(((true - other) ** 2).mean() / max(true.var(), np.finfo(np.float32).tiny)))
    return float(np.mean(shares))
