"""The gate's limits on how like the models are: the graph to its PyTorch model, and the maps of both to each other."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import fmean, stdev

from secateur.benchmarks.bootstrap import Interval
from secateur.benchmarks.checks import Check, Outcome, at_least
from secateur.benchmarks.results_file import BenchResult
from secateur.core.errors import BenchError


def parity_checks(candidate: BenchResult, goals: Sequence[str], limit: float | None) -> Iterator[Check]:
    """How far each graph that is judged is from PyTorch: the largest difference over the scale of its output.

    Raises `BenchError` where one was not compared.
    """
    if limit is None:
        return
    graphs = [goal.partition("@")[2] or "fp32" for goal in goals if not goal.startswith("torch")]
    for precision in dict.fromkeys(graphs or candidate.parity):
        if precision not in candidate.parity:
            raise BenchError(
                f"a limit on parity was given, but the {precision} graph was not compared with PyTorch: do "
                "`secateur export` and `secateur bench` where ONNX Runtime is installed"
            )
        value = candidate.parity[precision]
        outcome: Outcome = "pass" if value <= limit else "fail"
        said = f"the {precision} graph is {value:.2g} of its scale off PyTorch's, at most {limit:g} is allowed"
        yield Check("parity", value, limit, outcome, said)
    if not candidate.parity:
        raise BenchError("a limit on parity was given, but the candidate has no graph that was compared with PyTorch")


def fidelity_checks(cosines: Sequence[float], limit: float | None, level: float) -> Iterator[Check]:
    """The mean cosine of both models' relevance maps, with the interval (Student's) of other images.

    Raises `BenchError` where fewer than two images were compared.
    """
    if limit is None:
        return
    from scipy.stats import t

    if (count := len(cosines)) < 2:
        raise BenchError(
            "a limit on fidelity was given, but the maps of both models were compared on "
            f"{count} images and 2 are needed: run `secateur report` with report.images above 1, and judge the run"
        )
    mean, half = fmean(cosines), float(t.ppf((1 + level) / 2, count - 1)) * stdev(cosines) / math.sqrt(count)
    found = Interval(mean, mean - half, mean + half)
    said = f"the maps of both models agree with a cosine of {found} on {count} images, at least {limit:g} is wanted"
    yield Check("fidelity", mean, limit, at_least(found, limit), said, found.low, found.high)
