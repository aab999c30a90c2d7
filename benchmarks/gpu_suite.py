"""The kernels on a GPU: built, checked against float64 at every tile size, timed against the library, with rooflines.

`python -P -m secateur.benchmarks.gpu_suite` needs a GPU, CUDA's driver, PyTorch and pycuda. With `--dry` nothing runs:
the bytes, the arithmetic and the occupancy of every problem are computed for GPUs whose peaks are known, and the file
says that it predicts.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from secateur.benchmarks.gpu_rows import KIND, predict
from secateur.benchmarks.roofline import peak_of
from secateur.core.errors import BenchError, SecateurError
from secateur.core.files import write_json
from secateur.kernels.resource_report import read_report

COMMAND = "python -P -m secateur.benchmarks.gpu_suite"
DRY_DEVICES = ("NVIDIA H100 80GB HBM3", "Jetson AGX Orin 64GB", "Jetson Orin NX 16GB")
RESULTS = Path("benchmarks/results")


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the suite's result, measured or predicted; 1 where a check or a contender failed, 2 for bad input."""
    parser = argparse.ArgumentParser(prog=COMMAND, description="Writes the suite's result, measured or predicted.")
    parser.add_argument("--dry", action="store_true", help="predict bytes, arithmetic and occupancy; needs no GPU")
    parser.add_argument(
        "--device", action="append", default=[],
        help="a GPU by its data-sheet name: to predict for, or that of the one here where its driver says another",
    )  # fmt: skip
    parser.add_argument("--resources", type=Path, default=RESULTS / "kernel_resources.json")
    parser.add_argument("--samples", type=int, default=30, help="timed replays of each graph (30)")
    parser.add_argument("--out", type=Path, help="default: benchmarks/results/gpu_suite[_prediction].json")
    given = parser.parse_args(arguments)
    place = given.out or RESULTS / ("gpu_suite_prediction.json" if given.dry else "gpu_suite.json")
    try:
        return _run(given, place)
    except SecateurError as error:
        print(error, file=sys.stderr)
        return error.exit_code


def _run(given: argparse.Namespace, place: Path) -> int:
    from secateur.benchmarks.environment import environment
    from secateur.benchmarks.gpu_session import measure

    if given.samples < 1:
        raise BenchError(f"{given.samples} samples were asked for: there must be at least 1")
    kernels = read_report(given.resources).kernels
    head = {"command": COMMAND + (" --dry" if given.dry else ""), "environment": asdict(environment())}
    if not given.dry:
        return measure(head, kernels, given.samples, place, given.device[0] if given.device else "")
    peaks = [peak_of(name) for name in given.device or DRY_DEVICES]
    content = predict(peaks, kernels)
    write_json(place, KIND, {**head, **content})
    print(f"prediction: {len(content['rows'])} rows written to {place}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
