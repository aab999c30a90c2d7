"""Budgets: one measure, a fraction or an absolute number with a unit; anything else is refused by name."""

from __future__ import annotations

import pytest

from secateur.core.errors import EngineError, PlanError
from secateur.pipeline.plan.budget import Budget, clear_other_measures
from secateur.pipeline.structure.groups import Groups


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        ({"macs": 0}, r"macs is 0, but must be a fraction between 0 and 1, or an absolute number .* such as 600M"),
        ({"macs": 1.5}, "is 1.5, but must be a fraction"),
        ({"macs": "half"}, "is 'half'"),
        ({"macs": "infG"}, "is 'infG'"),
        ({"macs": float("nan")}, "is nan"),
        ({"macs": [0.5]}, r"is \[0.5\]"),
        ({"macs": -0.5}, "is -0.5"),
        ({}, "exactly one"),
        ({"macs": 0.5, "params": 0.5}, "exactly one"),
        ({"units": "5M"}, r"is '5M', but must be a fraction between 0 and 1$"),
        ({"latency": "7", "target": "torch:cpu"}, r"is '7', .* such as 2\.5ms$"),
        ({"latency": "7M", "target": "torch:cpu"}, "is '7M'"),
        ({"latency": 0.5}, "needs the target"),
        ({"macs": 0.5, "target": "torch:cpu"}, "only a latency has a target"),
    ],
)
def test_a_budget_out_of_range_is_refused(budget: dict[str, object], words: str) -> None:
    with pytest.raises(PlanError, match=words):
        Budget(**budget)  # type: ignore[arg-type]


def test_an_unknown_target_is_refused_with_a_near_one() -> None:
    with pytest.raises(EngineError, match=r"budget\.target: the target 'onxruntime:cpu' is not known; did you mean"):
        Budget(latency=0.5, target="onxruntime:cpu")


@pytest.mark.parametrize(
    ("budget", "share"),
    [
        ({"macs": 0.25}, 0.25),
        ({"macs": "0.25"}, 0.25),
        ({"params": 0.25}, 0.25),
        ({"units": 0.25}, 0.25),
        ({"bit_ops": 0.25}, 0.25),
    ],
)
def test_a_fraction_is_one_of_the_dense_model(budget: dict[str, object], share: float, vit_groups: Groups) -> None:
    made = Budget(**budget)  # type: ignore[arg-type]
    names = [group.name for group in vit_groups]
    assert made.limit(vit_groups, names) == pytest.approx(share * made.cost(vit_groups, {}, names))


@pytest.mark.parametrize(("text", "number"), [("20k", 2e4), (" 0.03 M", 3e4), ("0.00001g", 1e4)])
def test_an_absolute_budget_is_what_it_says(text: str, number: float, vit_groups: Groups) -> None:
    assert Budget(macs=text).limit(vit_groups, []) == pytest.approx(number)
    with pytest.raises(PlanError, match="is no less than the dense model's"):
        Budget(macs="1000G").limit(vit_groups, [])


def test_units_are_those_of_the_groups_that_may_be_pruned(vit_groups: Groups) -> None:
    names = ["blocks.0.mlp.hidden", "blocks.1.mlp.hidden"]
    assert Budget(units=0.5).limit(vit_groups, names) == 192
    assert Budget(units=0.5).cost(vit_groups, {names[0]: range(100)}, names) == 292


def test_bit_operations_are_macs_times_the_bits_of_both_operands(vit_groups: Groups) -> None:
    budget, kept = Budget(bit_ops=0.5), {"blocks.0.mlp.hidden": range(96)}
    assert budget.cost(vit_groups, kept, []) == 1024 * vit_groups.macs(kept)
    (term,) = (term for term in vit_groups.terms if term.name == "blocks.0.mlp.fc1")
    narrow = budget.cost(vit_groups, kept, [], None, {term.name: "int8"})
    assert budget.cost(vit_groups, kept, []) - narrow == (1024 - 64) * term.count(kept)


def test_a_measure_replaces_the_others_and_a_target_none() -> None:
    content = {"macs": 0.5, "params": None, "target": "torch:cpu"}
    clear_other_measures(content, "target")
    assert content == {"macs": 0.5, "params": None, "target": "torch:cpu"}
    clear_other_measures(content, "latency")
    assert content == {"target": "torch:cpu"}
    clear_other_measures(content, "units")
    assert content == {}
