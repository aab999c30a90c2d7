"""A plan in rounds: each removes a part, the rest is repaired, and what the next one removes is scored on that."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from secateur.core.errors import PlanError, RunError
from secateur.core.files import read_json, sha256_json, write_json
from secateur.pipeline.plan.allocation import ROUNDS, Allocation, Instruments
from secateur.pipeline.plan.budget import Budget
from secateur.pipeline.plan.make import allocation_of, best_allocation, check_plan, left_of, planned, prunable
from secateur.pipeline.scores.registry import METHODS, TrainedMethod
from secateur.pipeline.scores.score import Scores
from secateur.pipeline.structure.cutting import cut
from secateur.pipeline.structure.groups import Groups, Kept
from secateur.pipeline.structure.layers import unit_names
from secateur.pipeline.structure.plan import Plan
from secateur.pipeline.structure.widened import widened

FILE, SCHEMA = "rounds.json", "rounds"
"""The finished rounds in the folder of a run."""
Rescore = Callable[[nn.Module, Groups], Scores]
"""Scores of some groups for a model in the dense one's shapes."""
Repaired = Callable[[Plan], nn.Module]
"""The small model that a plan leaves of the dense one, repaired."""


def plan_in_rounds(
    model: nn.Module,
    groups: Groups,
    scores: Scores,
    budget: Budget,
    rescore: Rescore,
    repaired: Repaired | None = None,
    rounds: int = 4,
    allocation: str | Allocation | None = None,
    instruments: Instruments | None = None,
    **options: Any,
) -> Plan:
    """A plan for the dense `model` under `budget`, made in `rounds` by scores of what is left.

    With L the budget and D the dense cost, round r of n comes to D (L / D)^(r / n): each leaves the same share of what
    it found. `scores` decide the first one; then the model that the plan so far leaves, `repaired` (by surgery alone
    without that), is scored anew by `rescore`, and what is gone stays gone. One round is `make_plan`. `allocation` and
    `options` are as there, and so are the errors; allocations with instruments of their own plan in one round only.
    With `instruments.folder`, rounds that are done are kept there and not done again, as long as the scores, the
    budget, the allocation and `instruments.identity` (which names model, images, scoring and repair) are the same.

    >>> rescore = lambda current, groups: sc.score(current, groups, loader)
    >>> repaired = lambda plan: sc.compensate(sc.prune(model, plan, groups), model, plan, loader)
    >>> plan = sc.plan_in_rounds(model, groups, scores, sc.Budget(macs=0.5), rescore, repaired, rounds=2)
    >>> groups.macs(plan.kept) <= 0.5 * groups.macs()
    True
    """
    chosen = allocation_of(allocation or best_allocation(scores.method), options)
    instruments = instruments or Instruments()
    check_rounds(rounds, chosen, scores.method)
    check_plan(groups, budget, chosen, instruments.latencies)
    done = FinishedRounds.begun(instruments.folder, _identity(groups, scores, budget, rounds, chosen, instruments))
    plans, budgets = list(done.plans), budgets_of(groups, budget, rounds, chosen, instruments)
    make = repaired or partial(cut, model, groups)
    for number in range(len(plans), rounds):
        left: Kept = plans[-1].kept if plans else {}
        if left:
            instruments.say(f"round {number + 1} of {rounds}: scoring what is left, repaired")
            scores = rescore(widened(make(plans[-1]), model, groups, plans[-1]), open_groups(groups, chosen, left))
        plans.append(planned(groups, scores, budgets[number], chosen, instruments, left))
        done = replace(done, plans=tuple(plans))
        if instruments.folder is not None and rounds > 1:
            done.save(instruments.folder / FILE)
    return plans[-1]


def budgets_of(
    groups: Groups, budget: Budget, rounds: int, allocation: Allocation, instruments: Instruments
) -> list[Budget]:
    """What each round comes to; the last is the budget itself."""
    names = unit_names(groups, [group.name for group in prunable(groups, allocation)])
    table = instruments.latencies
    share = budget.limit(groups, names, table) / budget.cost(groups, {}, names, table)
    shares = [share ** (number / rounds) for number in range(1, rounds)]
    return [*(replace(budget, **{budget.measure: part}) for part in shares), budget]


def check_rounds(rounds: int, allocation: Allocation, method: str) -> None:
    """Raises `PlanError` for a number of rounds that there cannot be, or not with that allocation or score."""
    if rounds not in ROUNDS or not isinstance(rounds, int):
        raise PlanError(f"plan.rounds is {rounds!r}, but must be a whole number {ROUNDS}")
    if rounds == 1:
        return
    if allocation.needs:
        raise PlanError(
            f"plan.rounds is {rounds}, but the allocation {allocation.name!r} measures the dense model and plans in "
            "one round: leave rounds at 1, or take knapsack, global or uniform"
        )
    if method in METHODS.names() and issubclass(METHODS.find(method), TrainedMethod):
        raise PlanError(
            f"plan.rounds is {rounds}, but the scores of {method} are learned once, of the dense model: leave rounds "
            "at 1, or score by obs or taylor"
        )


def open_groups(groups: Groups, allocation: Allocation, left: Kept) -> Groups:
    """The groups that have units left which may go."""
    parts = [(group, left_of(group, left)) for group in prunable(groups, allocation)]
    some = [group for group, units in parts if units is None or units]
    return replace(groups, groups=tuple(some))


@dataclass(frozen=True)
class FinishedRounds:
    """The plans of the rounds that are done; `identity` names what decides them."""

    identity: str
    plans: tuple[Plan, ...] = ()

    def save(self, path: Path) -> None:
        """Writes the rounds as JSON."""
        write_json(path, SCHEMA, {"identity": self.identity, "plans": [plan.with_notes() for plan in self.plans]})

    @staticmethod
    def begun(folder: Path | None, identity: str) -> FinishedRounds:
        """The rounds in a folder, none where it has none of that identity; raises `RunError` for a file of none."""
        if folder is None or not (path := folder / FILE).exists():
            return FinishedRounds(identity)
        content = read_json(path, SCHEMA)
        if content.get("identity") != identity:
            return FinishedRounds(identity)
        plans = content.get("plans")
        if not isinstance(plans, list) or not all(isinstance(plan, Mapping) for plan in plans):
            raise RunError(f"{path} holds no rounds of a plan: delete it to plan anew")
        return FinishedRounds(identity, tuple(Plan.from_json(plan, str(path)) for plan in plans))


def _identity(
    groups: Groups, scores: Scores, budget: Budget, rounds: int, allocation: Allocation, instruments: Instruments
) -> str:
    """What decides the rounds: all that they are given."""
    given = [groups.fingerprint(), scores.method, scores.values, budget, rounds, instruments.latencies]
    return sha256_json([*given, allocation.name or type(allocation).__qualname__, allocation, instruments.identity])
