"""What was done to a model, in phrases, and what of the budget was asked, planned and reached."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass

from secateur.benchmarks.bootstrap import Interval
from secateur.export.graph_types import bit_ops
from secateur.pipeline.data.classes import spelt_out
from secateur.pipeline.plan.spec import PlanSpec
from secateur.pipeline.recover.spec import RecoverSpec
from secateur.pipeline.report.certainty import Judged, judged
from secateur.pipeline.report.findings import Findings
from secateur.pipeline.report.table import compact


@dataclass(frozen=True)
class BudgetRow:
    """A budget as it was asked for, what the plan came to, and what was measured of it (empty where nothing was)."""

    asked: str
    planned: str
    reached: str
    judged: Judged


def facts_of(found: Findings) -> list[tuple[str, str]]:
    """What was done, as pairs of a name and a phrase."""
    recipe, facts, images = found.recipe, found.plan.facts, found.bench.evaluation_images
    budget = {key: value for key, value in asdict(recipe.budget).items() if value is not None}
    planned = []
    if facts is not None:
        planned.append(("planned MACs", f"{compact(facts.macs)} of {compact(facts.macs_dense)}"))
        if facts.budget == "latency":
            planned.append(("planned latency", f"{facts.cost:.3f} ms on {recipe.budget.target}"))
        if facts.budget == "bit_ops":
            share = facts.cost / bit_ops(facts.macs_dense, "fp32")
            planned.append(("planned bit-operations", f"{share:.1%} of dense in fp32"))
        if facts.precisions:
            counts = Counter(facts.precisions.values()).items()
            planned.append(("planned operations by precision", ", ".join(f"{word}: {count}" for word, count in counts)))
    return [
        *([("classes", ", ".join(spelt_out(recipe.classes)))] if recipe.classes else []),
        ("budget", ", ".join(f"{key} {value}" for key, value in budget.items())),
        ("scores", recipe.score.told),
        ("allocation", _allocation(recipe.plan)),
        ("recovery", _recovery(recipe.recover)),
        *planned,
        ("held-out images", "unknown" if images is None else str(images)),
    ]


def budget_row(found: Findings) -> BudgetRow | None:
    """The budget in three numbers; None of a plan that does not say what it costs."""
    budget, facts, bench = found.recipe.budget, found.plan.facts, found.bench
    if facts is None:
        return None
    asked = f"{facts.budget.replace('_', '-')}: {getattr(budget, budget.measure)}"
    if facts.budget == "latency":
        asked, share = f"{asked} on {budget.target}", bench.speedup.get(str(budget.target))
        planned = f"{facts.cost:.3f} ms (at most {facts.limit:.3f} ms)"
        if share is None:
            return BudgetRow(asked, planned, "", "unclear")
        return BudgetRow(
            asked, planned, *_latency(budget.latency, share, bench.pruned.latency_ms[str(budget.target)].p50)
        )
    planned = f"{compact(facts.cost)} (at most {compact(facts.limit)})"
    measured = {"macs": bench.pruned.macs, "params": bench.pruned.params}.get(facts.budget)
    if measured is None:
        return BudgetRow(asked, planned, "", "unclear")
    return BudgetRow(asked, planned, compact(measured), "gain" if measured <= facts.limit else "loss")


def _latency(asked: float | str | None, found: Interval, p50: float) -> tuple[str, Judged]:
    """What was measured of a latency budget; only a fraction of dense can be compared with another session's ratio."""
    words = f"{1 / found.ratio:.1%} of dense [{1 / found.high:.1%}, {1 / found.low:.1%}], {p50:.3f} ms"
    return words, judged(found.low, found.high, 1 / asked) if isinstance(asked, float) else "unclear"


def _recovery(recover: RecoverSpec) -> str:
    """How the rest was repaired, in words."""
    steps = []
    if recover.compensate:
        ridge = "chosen for each layer" if recover.ridge is None else f"{recover.ridge:g}"
        words = ", front to back" * recover.front_to_back + ", statistics of the images" * recover.adapt_statistics
        steps.append(f"ridge compensation ({ridge}){words}")
    if passes := recover.reconstruct.epochs:
        steps.append(f"blocks reconstructed in at most {passes} pass{'es' if passes > 1 else ''}, without labels")
    if (lessons := recover.distill).epochs:
        epochs = f"{lessons.epochs} epoch{'s' if lessons.epochs > 1 else ''}"
        steps.append(f"{epochs} of distillation, {lessons.labels:.0%} of it on labels")
    return ", then ".join(steps) or "none"


def _allocation(spec: PlanSpec) -> str:
    """How the plan was made, in a phrase."""
    rounds = f" in {spec.rounds} rounds" if spec.rounds > 1 else ""
    return f"{spec.allocate}{rounds}, widths in multiples of {spec.align}"
