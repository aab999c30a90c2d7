"""Joint plans: units and bits go where either costs least, under one budget of bit-operations or latency."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import pytest
import torch

from secateur.benchmarks.environment import environment
from secateur.core.errors import PlanError
from secateur.pipeline.plan.allocation import Instruments
from secateur.pipeline.plan.budget import Budget
from secateur.pipeline.plan.joint import Joint
from secateur.pipeline.plan.latency_table import Curve, LatencyTable, OperationCurve
from secateur.pipeline.plan.make import check_plan, make_plan
from secateur.pipeline.scores.score import Scores
from secateur.pipeline.structure.groups import Groups, Kept
from secateur.pipeline.structure.plan import Plan, PlanFacts

MLP = Joint(kinds=("mlp_hidden",))
UNIT = 0.01
"""What the objective rises by for each unit."""


def objective(kept: Kept) -> float:
    return UNIT * sum(192 - len(units) for units in kept.values())


def planned(groups: Groups, budget: float, losses: Mapping[str, float]) -> tuple[Plan, PlanFacts]:
    scores = Scores({group.name: torch.arange(group.units) for group in groups}, "x")
    instruments = Instruments(objective=objective, precision_losses=losses)
    plan = make_plan(groups, scores, Budget(bit_ops=budget), MLP, instruments)
    assert plan.facts is not None
    cost = sum(term.count(plan.kept) * (64 if term.name in plan.facts.precisions else 1024) for term in groups.terms)
    assert plan.facts.cost == pytest.approx(cost)
    assert cost <= budget * 1024 * groups.macs()
    return plan, plan.facts


def test_bits_go_alone_where_they_cost_nothing(vit_groups: Groups) -> None:
    names = [term.name for term in vit_groups.terms]
    plan, facts = planned(vit_groups, 1 / 16, dict.fromkeys(names, 0.0))
    assert (dict(plan.kept), set(facts.precisions)) == ({}, set(names))
    assert set(facts.precisions.values()) == {"int8"}


def test_units_go_alone_where_bits_cost_much(vit_groups: Groups) -> None:
    plan, facts = planned(vit_groups, 0.8, {term.name: 1e6 for term in vit_groups.terms})
    assert plan.kept and not facts.precisions


def test_no_group_becomes_too_narrow_for_int8(vit_groups: Groups) -> None:
    plan, _ = planned(vit_groups, 0.03, {term.name: 0.0 for term in vit_groups.terms})
    assert min(len(units) for units in plan.kept.values()) >= 16


def test_what_cannot_be_in_int8_stays_wide(vit_groups: Groups) -> None:
    losses = {"blocks.0.mlp.fc1": 0.0, "blocks.1.mlp.fc2": 0.0}
    assert set(planned(vit_groups, 0.45, losses)[1].precisions) == set(losses)


@pytest.mark.parametrize("budget", [0.2, 0.35, 0.6])
def test_it_is_about_as_good_as_the_best_of_all_choices(vit_groups: Groups, budget: float) -> None:
    large = sorted(vit_groups.terms, key=lambda term: -term.count({}))[:7]
    losses = {term.name: loss for term, loss in zip(large, (0.1, 3.0, 0.4, 0.2, 1.5, 0.05, 0.8), strict=True)}
    plan, facts = planned(vit_groups, budget, losses)
    total = objective(plan.kept) + sum(losses[name] for name in facts.precisions)
    widths = [(one, other) for one in range(16, 193, 16) for other in range(16, 193, 16)]
    kept = [{"blocks.0.mlp.hidden": range(one), "blocks.1.mlp.hidden": range(other)} for one, other in widths]
    counts = [{term.name: term.count(one) for term in vit_groups.terms} for one in kept]
    limit = budget * 1024 * vit_groups.macs()

    def lost(narrow: tuple[str, ...]) -> float:
        """The least loss with these operations in int8, by trying pairs of widths."""
        fit = [
            objective(one)
            for one, macs in zip(kept, counts, strict=True)
            if 1024 * sum(macs.values()) - 960 * sum(macs[name] for name in narrow) <= limit
        ]
        return min(fit, default=float("inf")) + sum(losses[name] for name in narrow)

    best = min(lost(narrow) for count in range(8) for narrow in combinations(losses, count))
    assert total <= best + 8 * UNIT + 0.2  # a step of units, or one operation of a small loss, past the optimum


def test_budgets_that_it_cannot_meet_are_refused(vit_groups: Groups) -> None:
    with pytest.raises(PlanError, match=r"bit-operations cannot be met with all 2 operations that int8 helps"):
        planned(vit_groups, 0.05, {"blocks.0.mlp.fc1": 0.0, "blocks.1.mlp.fc2": 0.0})
    with pytest.raises(PlanError, match=r"the budget is of macs: give budget\.bit_ops.*, or budget\.latency"):
        check_plan(vit_groups, Budget(macs=0.5), MLP)
    check_plan(vit_groups, Budget(bit_ops=0.06), MLP)
    with pytest.raises(PlanError, match=r"plan\.least is 8, but products of fewer than 16 units are not in int8"):
        check_plan(vit_groups, Budget(bit_ops=0.06), Joint(kinds=("mlp_hidden",), least=8))
    with pytest.raises(PlanError, match=r"bit_ops \(1\.0% of dense\) cannot be met"):
        check_plan(vit_groups, Budget(bit_ops=0.01), MLP)
    with pytest.raises(PlanError, match=r"'joint' chooses bits: give make_plan Instruments\(precision_losses"):
        scores = Scores({group.name: torch.arange(group.units) for group in vit_groups}, "x")
        make_plan(vit_groups, scores, Budget(bit_ops=0.5), MLP, Instruments(objective=objective))


def test_what_stays_wide_counts_in_the_type_of_the_export(vit_groups: Groups) -> None:
    scores = Scores({group.name: torch.arange(group.units) for group in vit_groups}, "x")
    losses = {"blocks.0.mlp.fc1": 0.0, "blocks.1.mlp.fc2": 5.0}
    instruments = Instruments(objective=objective, precision_losses=losses, wide="fp16")
    facts = make_plan(vit_groups, scores, Budget(bit_ops=0.24), MLP, instruments).facts
    assert facts is not None
    narrow = {name for name, word in facts.precisions.items() if word == "int8"}
    assert narrow == {"blocks.0.mlp.fc1"}
    assert {facts.precisions[term.name] for term in vit_groups.terms if term.name not in narrow} == {"fp16"}
    dense = sum(term.count({}) * (64 if term.name in narrow else 256) for term in vit_groups.terms)
    assert facts.cost <= 0.24 * 1024 * vit_groups.macs()
    assert facts.cost == pytest.approx(dense)  # half of the bits are a quarter of the bit-operations: no unit goes


def table_of(groups: Groups, saved: Mapping[str, float]) -> LatencyTable:
    """A table in which the dense model takes 10 ms, each hidden layer 3 of them, and these operations less in int8."""
    family = groups.named("blocks.0.mlp.hidden").family
    curves = (Curve(family, (0.0, 1.0), (3.0, 0.0), (3.0, 0.0), (3.0, 0.0)),)
    macs = {term.name: term.count({}) for term in groups.terms}
    operations = tuple(
        OperationCurve("int8", (name,), (macs[name],), (0.0, 1.0), (0.0, less), (0.0, less), (0.0, less))
        for name, less in saved.items()
    )
    return LatencyTable("onnxruntime:cpu", 1, groups.fingerprint(), 10.0, curves, environment(1), "fp32", operations)


def timed(groups: Groups, latency: float, losses: Mapping[str, float], table: LatencyTable) -> tuple[Plan, PlanFacts]:
    scores = Scores({group.name: torch.arange(group.units) for group in groups}, "x")
    instruments = Instruments(objective=objective, precision_losses=losses, latencies=table)
    plan = make_plan(groups, scores, Budget(latency=latency, target="onnxruntime:cpu"), MLP, instruments)
    assert plan.facts is not None
    assert plan.facts.cost == pytest.approx(table.predict_ms(groups, plan.kept, plan.facts.precisions))
    assert plan.facts.cost <= 10 * latency
    return plan, plan.facts


def test_a_latency_is_met_by_bits_or_units_whichever_costs_less(vit_groups: Groups) -> None:
    fast = {"blocks.0.mlp.fc1": 1.0, "blocks.1.mlp.fc1": 1.5, "blocks.0.attn.qkv": -0.5}
    table = table_of(vit_groups, fast)
    plan, facts = timed(vit_groups, 0.8, {**dict.fromkeys(fast, 0.0), "head": 0.0}, table)
    assert not plan.kept and set(facts.precisions) == {"blocks.0.mlp.fc1", "blocks.1.mlp.fc1"}
    assert facts.cost == pytest.approx(7.5)  # in int8, qkv would be slower and the head as fast
    plan, facts = timed(vit_groups, 0.8, dict.fromkeys(fast, 1e6), table)
    assert plan.kept and not facts.precisions
    plan, facts = timed(vit_groups, 0.65, {"blocks.0.mlp.fc1": 0.1, "blocks.1.mlp.fc1": 1e6}, table)
    assert plan.kept and set(facts.precisions) == {"blocks.0.mlp.fc1"}


def test_a_latency_that_bits_cannot_meet_is_refused(vit_groups: Groups) -> None:
    table = table_of(vit_groups, {"blocks.0.mlp.fc1": 1.0})
    budget = Budget(latency=0.2, target="onnxruntime:cpu")
    with pytest.raises(PlanError, match=r"the budget of 2 ms cannot be met with all 1 operations that int8 helps"):
        timed(vit_groups, 0.2, {"blocks.0.mlp.fc1": 0.0}, table)
    with pytest.raises(PlanError, match=r"the budget of 2 latency \(20\.0% of dense\) cannot be met"):
        check_plan(vit_groups, budget, MLP, table)
    with pytest.raises(PlanError, match=r"has times in fp32, but none in int8: measure it anew"):
        timed(vit_groups, 0.5, {"blocks.0.mlp.fc1": 0.0}, table_of(vit_groups, {}))
    with pytest.raises(PlanError, match=r"needs the latencies of onnxruntime:cpu: measure with `secateur profile`"):
        scores = Scores({group.name: torch.arange(group.units) for group in vit_groups}, "x")
        make_plan(vit_groups, scores, budget, MLP, Instruments(objective=objective, precision_losses={}))
    with pytest.raises(PlanError, match=r"the budget's target torch:cpu runs the module as it is: give the target of"):
        check_plan(vit_groups, Budget(latency=0.5, target="torch:cpu"), MLP)
    with pytest.raises(PlanError, match=r"none in fp16"):
        wide = Instruments(objective=objective, precision_losses={}, latencies=table, wide="fp16")
        make_plan(vit_groups, scores, budget, MLP, wide)
