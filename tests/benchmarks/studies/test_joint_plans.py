"""The comparison of joint plans, on written rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from secateur_studies.joint_plans import Job, apart, clearer, surprises, table_of


def row(way: str, measure: str, budget: float, right: str, **costs: float) -> dict[str, Any]:
    shown = {"bit_ops": 0.05, "macs": 0.8, "top1": 75.0, "error": 0.1}
    return {"way": way, "measure": measure, "budget": budget, "right": right, "costs": costs, **shown}


ROWS = [
    row("fp32", "", 1.0, "1111", bit_ops=1.0, latency=9.0),
    row("int8", "", 1.0, "1111", bit_ops=0.06, latency=3.0),
    row("joint", "bit_ops", 0.05, "1110"),
    row("pruned, then int8", "bit_ops", 0.05, "1000"),
    row("joint", "latency", 3.0, "0110"),
    row("pruned, then int8", "latency", 2.0, "1000"),
]


def test_the_joint_plan_is_compared_with_those_of_its_budget_image_by_image() -> None:
    first, second = apart({"runs": {"net": {"graphs": ROWS}}}, "net")
    assert first[:3] == (ROWS[2], ROWS[3], 50.0)
    assert second[:3] == (ROWS[4], ROWS[1], -50.0)  # at the latency of int8 alone
    assert first[3] == second[3] == pytest.approx(100 * 1.96 * (1 / 3) ** 0.5 / 2)


def test_each_graph_has_a_row_in_the_table() -> None:
    head, lines = table_of({"runs": {"net": {"graphs": ROWS}}})
    assert [line[0] for line in lines[:2]] == ["net: fp32", "net: int8"]
    assert [line[1] for line in lines[2:]] == 2 * ["5.00% of bit-operations"] + [
        "3.00 ms by the table",
        "2.00 ms by the table",
    ]
    pruned = next(line for line in lines if line[1].startswith("5.00%") and line[0].endswith("then int8"))
    assert pruned[2:7] == ("5.00%", "80.0%", "75.00", "10.0%", "") and pruned[7].startswith("+50.00 ± ")
    assert {len(line) for line in lines} == {len(head)}


def test_a_graph_of_the_same_way_and_budget_is_not_made_again() -> None:
    job = Job("joint", "latency", 3.0, lambda: None)
    assert [job.done(one) for one in ROWS] == [False, False, False, False, True, False]


def test_int8_alone_that_costs_less_is_compared_too_and_what_costs_more_is_not() -> None:
    rows = [*ROWS[:3], row("int8, ends", "", 1.0, "1001", bit_ops=0.04)]
    assert [one["way"] for _, one, _, _ in apart({"runs": {"net": {"graphs": rows}}}, "net")] == ["int8, ends"]


def test_labels_surprise_a_graph_by_their_cross_entropy_and_pairs_of_images_are_compared() -> None:
    logits, labels = np.array([[0.0, 0.0], [0.0, np.log(3.0)]], dtype=np.float32), np.array([0, 0])
    assert surprises(logits, labels) == pytest.approx([np.log(2.0), np.log(4.0)], abs=1e-5)
    assert clearer({"surprise": [1.0, 2.0]}, {"surprise": [1.5, 2.7]}) == "+0.600 ± 0.196"
    assert clearer({}, {"surprise": [1.0]}) == ""
