"""The runner's commands: `python -m bundle_runner verify`, `infer IMAGE`, `bench`.

Exit 0 done or pass, 1 a check failed, 2 a bad bundle or usage, 3 inconclusive, 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from .bench import describe, measure
from .bundle import open_bundle
from .engines import chosen, installed_version
from .errors import RunnerError
from .golden import batch_of, golden_inputs
from .infer import infer
from .machine import MOST_SECONDS, MOST_THREADS, this_machine
from .manifest import NAME
from .runtimes import open_model
from .text import show, shown
from .verify import verify

HERE = Path(__file__).resolve().parents[1]


def main(words: list[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    options = _parser().parse_args(words)
    try:
        code: int = options.command(options)
    except RunnerError as error:
        show(f"bundle_runner: {error}", sys.stderr)
        return 2
    except BrokenPipeError:  # whoever read the answer has gone
        return 2
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        show(f"bundle_runner: cannot read or write here: {where}{error.strerror or error}", sys.stderr)
        return 2
    except KeyboardInterrupt:
        show("bundle_runner: interrupted", sys.stderr)
        return 130
    return code


def _verify(options: argparse.Namespace) -> int:
    found = verify(
        options.bundle,
        options.target,
        seconds=options.seconds,
        latency=not options.no_latency,
        threads=options.threads,
        say=_say,
    )
    show(json.dumps(found.to_json(), indent=1) if options.json else "\n".join(found.lines()), sys.stdout)
    return found.exit_code


def _infer(options: argparse.Namespace) -> int:
    with open_bundle(options.bundle) as bundle:
        found = infer(bundle, options.image, options.target, options.top, options.threads)
    if options.json:
        show(json.dumps(found, indent=1), sys.stdout)
    else:
        for row in found.get("top", []):
            show("\n".join(f"{one['probability']:8.2%}  {shown(one['class'], False)}" for one in row), sys.stdout)
        for row in found.get("values", []):
            show("\n".join(f"{one['value']:12.6g}  {shown(one['name'], False)}" for one in row), sys.stdout)
        for name, one in found["outputs"].items() if not {"top", "values"} & set(found) else []:
            odd = "" if one["finite"] else ", with numbers that are not finite"
            show(f"{name}: {one['dtype']} {one['shape']}{odd}", sys.stdout)
    return 0


def _bench(options: argparse.Namespace) -> int:
    with open_bundle(options.bundle) as bundle:
        engine = chosen(bundle.manifest.engines, options.target, this_machine())
        graph = bundle.manifest.graph(engine.precision)
        dense = engine.dense or (graph.dense if engine.runtime == "onnxruntime" else "")
        arrays = golden_inputs(bundle)
        feeds = {name: batch_of(array, options.batch) for name, array in arrays.items()}
        with open_model(bundle.path(engine.path), engine.target, options.threads, engine.lean) as small:
            if dense:
                with open_model(bundle.path(dense), engine.target, options.threads, engine.lean) as large:
                    times = measure(small.prepare(feeds), large.prepare(feeds), options.seconds, say=_say)
            else:
                times = measure(small.prepare(feeds), None, options.seconds, say=_say)
    found = describe(times, engine.name, options.batch, options.threads, installed_version(engine.runtime))
    if options.out:
        options.out.write_text(json.dumps(found) + "\n", encoding="utf-8")
    show(json.dumps(found, indent=1) if options.json else _bench_line(found), sys.stdout)
    return 0


def _bench_line(found: dict[str, Any]) -> str:
    sides = ", ".join(f"{side} p50 {one['p50']:.3f} ms" for side, one in found["latency_ms"].items())
    ratio = found.get("speedup")
    faster = f", {ratio['ratio']:.3f} [{ratio['low']:.3f}, {ratio['high']:.3f}] times as fast" if ratio else ""
    return f"{found['target']}, batch {found['batch']}: {sides}{faster}"


def _say(message: str) -> None:
    if sys.stderr.isatty():
        show(message, sys.stderr)


def _positive(word: str, most: int = 1 << 20) -> int:
    value = int(word)
    if not 1 <= value <= most:
        raise argparse.ArgumentTypeError(f"{value} is not from 1 to {most}")
    return value


def _threads(word: str) -> int:
    return _positive(word, MOST_THREADS)


def _seconds(word: str) -> float:
    value = float(word)
    if not 0 < value <= MOST_SECONDS:
        raise argparse.ArgumentTypeError(f"{value:g} is not above 0 and at most {MOST_SECONDS}")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bundle_runner", description="Verifies, runs and times the model of a bundle."
    )
    commands = parser.add_subparsers(metavar="COMMAND")
    commands.required = True
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--threads", type=_threads, help="threads of ONNX Runtime on the CPU")
    shared.add_argument("--json", action="store_true", help="print JSON")
    place: dict[str, Any] = {"type": Path, "default": HERE} if (HERE / NAME).is_file() else {"type": Path}
    one = commands.add_parser("verify", parents=[shared], help="is the bundle right and fast here?")
    one.add_argument("bundle", nargs="?" if "default" in place else None, **place)
    one.add_argument(
        "--target", action="append", default=[], help="an engine, such as onnxruntime:cpu@fp16; may be repeated"
    )
    one.add_argument("--seconds", type=_seconds, default=3.0, help="of measuring for each engine")
    one.add_argument("--no-latency", action="store_true", help="check what is computed, not how fast")
    one.set_defaults(command=_verify)
    two = commands.add_parser("infer", parents=[shared], help="what does the model say of a picture?")
    two.add_argument("image", type=Path, help="a picture, or an input as .npy")
    two.add_argument("--top", type=_positive, default=5, help="classes to print")
    two.set_defaults(command=_infer)
    three = commands.add_parser("bench", parents=[shared], help="how fast is the model here?")
    three.add_argument("--batch", type=_positive, default=1, help="images at once")
    three.add_argument("--seconds", type=_seconds, default=5.0, help="of measuring")
    three.add_argument("--out", type=Path, help="write the JSON here")
    three.set_defaults(command=_bench)
    for each in (two, three):
        each.add_argument("--bundle", required="default" not in place, **place)
        each.add_argument("--target", default="", help="an engine; the first that runs here")
    return parser


if __name__ == "__main__":
    sys.exit(main())
