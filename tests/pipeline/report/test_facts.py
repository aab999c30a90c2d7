"""What was done is told in phrases, and the budget as it was asked for, planned and reached."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from secateur.pipeline.report.facts import BudgetRow, budget_row, facts_of
from tests.pipeline.report.findings import findings


@pytest.mark.parametrize(
    ("recover", "words"),
    [
        ({"compensate": False}, "none"),
        ({"front_to_back": False}, "ridge compensation (chosen for each layer)"),
        (
            {"ridge": 0.01, "distill": {"epochs": 2, "labels": 0.5}},
            "ridge compensation (0.01), front to back, then 2 epochs of distillation, 50% of it on labels",
        ),
        (
            {"compensate": False, "distill": {"epochs": 1, "labels": 0.0}},
            "1 epoch of distillation, 0% of it on labels",
        ),
    ],
)
def test_the_recovery_is_told(recover: dict[str, Any], words: str) -> None:
    assert ("recovery", words) in facts_of(findings(recover=recover))


def test_a_latency_that_was_planned_stands_beside_what_was_measured() -> None:
    assert "planned latency" not in dict(facts_of(findings()))
    found = findings(budget={"latency": 0.6, "target": "onnxruntime:cpu"})
    assert found.plan.facts is not None
    facts = replace(found.plan.facts, budget="latency", cost=4.875, limit=5.0)
    told = replace(found, plan=replace(found.plan, facts=facts))
    assert dict(facts_of(told))["planned latency"] == "4.875 ms on onnxruntime:cpu"
    row = budget_row(told)
    assert row is not None
    assert (row.asked, row.planned) == ("latency: 0.6 on onnxruntime:cpu", "4.875 ms (at most 5.000 ms)")
    assert row.reached == "62.5% of dense [58.8%, 66.7%], 5.000 ms"
    assert row.judged == "unclear"  # 0.6 lies inside
    facts = replace(facts, precisions={"a": "fp16", "b": "int8", "c": "int8"})
    typed = replace(found, plan=replace(found.plan, facts=facts))
    assert dict(facts_of(typed))["planned operations by precision"] == "fp16: 1, int8: 2"


@pytest.mark.parametrize(("budget", "shown"), [(0.7, "gain"), (0.5, "loss"), ("4ms", "unclear")])
def test_a_latency_is_reached_where_its_whole_interval_says_so(budget: float | str, shown: str) -> None:
    found = findings(budget={"latency": budget, "target": "onnxruntime:cpu"})
    assert found.plan.facts is not None
    plan = replace(found.plan, facts=replace(found.plan.facts, budget="latency"))
    row = budget_row(replace(found, plan=plan))
    assert row is not None and row.judged == shown
    unmeasured = budget_row(replace(found, plan=plan, bench=replace(found.bench, speedup={})))
    assert unmeasured is not None and (unmeasured.reached, unmeasured.judged) == ("", "unclear")


def test_macs_are_asked_for_planned_and_reached() -> None:
    assert budget_row(findings()) == BudgetRow("macs: 0.5", "1 G (at most 1 G)", "1 G", "gain")
    found = findings()
    more = replace(found.bench, pruned=replace(found.bench.pruned, macs=2 * 10**9))
    assert budget_row(replace(found, bench=more)) == BudgetRow("macs: 0.5", "1 G (at most 1 G)", "2 G", "loss")


def test_a_plan_that_does_not_say_what_it_costs_has_no_such_row() -> None:
    found = findings()
    told = replace(found, plan=replace(found.plan, facts=None))
    assert budget_row(told) is None
    assert not any("planned" in name for name, _ in facts_of(told))
