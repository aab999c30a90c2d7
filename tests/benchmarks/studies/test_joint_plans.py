"""The comparison of joint plans, on written rows."""

from __future__ import annotations

import pytest
from secateur_studies.joint_plans import apart, once, table_of


def test_the_joint_plan_is_compared_with_those_of_its_budget_image_by_image() -> None:
    rows = [
        {"way": "fp32", "budget": 1.0, "right": "1111"},
        {"way": "joint", "budget": 0.05, "right": "1110"},
        {"way": "pruned, then int8", "budget": 0.05, "right": "1000"},
        {"way": "int8", "budget": 0.06, "right": "1111"},
    ]
    ((budget, way, more, around),) = apart({"runs": {"net": {"graphs": rows}}}, "net")
    assert (budget, way, more) == (0.05, "pruned, then int8", 50.0)
    assert around == pytest.approx(100 * 1.96 * (1 / 3) ** 0.5 / 2)

    named = [{**row, "bit_ops": 0.05, "macs": 0.8, "top1": 75.0} for row in rows]
    head, lines = table_of({"runs": {"net": {"graphs": named}}})
    assert [line[0] for line in lines] == ["net: fp32", "net: int8", "net: joint", "net: pruned, then int8"]
    assert lines[-1][1:] == ("5.00%", "80.0%", "75.00", f"+50.00 ± {around:.2f}")
    assert {len(line) for line in lines} == {len(head)}


def test_no_choice_is_measured_twice() -> None:
    asked: list[object] = []
    objective = once(lambda kept: float(len(asked.append(kept) or asked)))  # type: ignore[func-returns-value]
    assert [objective({"a": [1]}), objective({"a": [1]}), objective({"a": range(2)})] == [1.0, 1.0, 2.0]
