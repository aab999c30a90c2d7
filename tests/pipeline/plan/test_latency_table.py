"""Latency tables: monotone curves, additive predictions, and budgets in milliseconds."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import isotonic_regression

from secateur.benchmarks.environment import environment
from secateur.core.errors import PlanError, RunError
from secateur.core.files import write_json
from secateur.pipeline.plan.allocation import Instruments
from secateur.pipeline.plan.budget import Budget
from secateur.pipeline.plan.knapsack import Knapsack
from secateur.pipeline.plan.latency_table import Curve, LatencyTable, OperationCurve, falling
from secateur.pipeline.plan.make import make_plan
from secateur.pipeline.scores.score import Scores
from secateur.pipeline.structure.groups import Groups

ENVIRONMENT = environment(1)


@pytest.fixture
def table(vit_groups: Groups) -> LatencyTable:
    mlp = vit_groups.named("blocks.0.mlp.hidden").family
    heads = vit_groups.named("blocks.0.attn.heads").family
    curves = (
        Curve(mlp, (0.5, 1.0), (2.0, 0.0), (1.9, 0.0), (2.1, 0.0)),
        Curve(heads, (0.0, 1.0), (3.0, 0.0), (3.0, 0.0), (3.0, 0.0)),
    )
    return LatencyTable("onnxruntime:cpu", 1, vit_groups.fingerprint(), 10.0, curves, ENVIRONMENT)


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=8))
def test_falling_is_isotonic_regression(values: list[float]) -> None:
    np.testing.assert_allclose(falling(tuple(values)), isotonic_regression(values, increasing=False), atol=1e-9)


def test_predictions_add_up_and_interpolate(table: LatencyTable, vit_groups: Groups) -> None:
    assert table.predict_ms(vit_groups, {}) == 10
    assert table.predict_ms(vit_groups, {"blocks.0.mlp.hidden": range(144)}) == pytest.approx(9)
    kept = {"blocks.0.mlp.hidden": range(96), "blocks.1.mlp.hidden": range(144), "blocks.1.attn.heads": [0]}
    assert table.predict_ms(vit_groups, kept) == pytest.approx(10 - 2 - 1 - 2)
    dims = Curve(vit_groups.named("blocks.0.attn.v").family, (0.0, 1.0), (6.0, 0.0), (6.0, 0.0), (6.0, 0.0))
    both = LatencyTable("t", 1, "", 10.0, (*table.curves, dims), ENVIRONMENT)
    kept = {"blocks.1.attn.heads": [0], "blocks.1.attn.v": range(8)}  # half of the one head that is left
    assert both.predict_ms(vit_groups, kept) == pytest.approx(10 - 2 - 3)


@pytest.mark.parametrize("latency", [0.7, "7ms", " 7 MS"])
def test_a_latency_budget_is_met(latency: float | str, table: LatencyTable, vit_groups: Groups) -> None:
    scores = Scores({group.name: torch.rand(group.units) for group in vit_groups}, "x")
    budget = Budget(latency=latency, target="onnxruntime:cpu")
    plan = make_plan(vit_groups, scores, budget, Knapsack(kinds=("mlp_hidden",)), Instruments(latencies=table))
    assert 6.7 < table.predict_ms(vit_groups, plan.kept) <= 7 + 1e-9
    assert plan.facts is not None and plan.facts.cost == pytest.approx(table.predict_ms(vit_groups, plan.kept))


def test_what_is_not_shown_is_not_promised(table: LatencyTable, vit_groups: Groups) -> None:
    mlp, heads = table.curves
    shown = replace(
        mlp, shares=(0.25, 0.5, 1.0), saved_ms=(0.3, 0.2, 0.0), low_ms=(0.1, -0.1, 0.0), high_ms=(0.5, 0.5, 0)
    )
    assert shown.promised_ms == (0.3, 0, 0) and shown.saving_ms(0.5) == 0
    hidden = replace(mlp, low_ms=(-0.1, 0.0))
    kept = {"blocks.0.mlp.hidden": range(96)}
    assert replace(table, curves=(hidden, heads)).predict_ms(vit_groups, kept) == 10
    slower = OperationCurve("int8", ("head",), (1.0,), (0.0, 1.0), (0.0, -2.0), (0.0, -3.0), (0.0, -1.0))
    (head,) = (term for term in vit_groups.terms if term.name == "head")
    slower = replace(slower, macs=(head.count({}),))
    assert slower.saving_ms(head, {}) == -2
    assert replace(slower, high_ms=(0.0, 0.1)).saving_ms(head, {}) == 0


@pytest.mark.parametrize(
    ("saved", "low", "high", "says"),
    [
        (5.5, 5.4, 5.6, r"at 50% saves 11.000 ms of a model of 10.000 ms\)"),  # of its two groups
        (0.4, -0.2, 1.0, r"at 50% saves \+0.800 ms, give or take 1.200\)"),
        (-0.4, -1.0, 0.2, r"at 50% saves -0.800 ms, give or take 1.200\)"),
        (0.4, -0.0, 0.8, ""),  # 0.8 give or take 0.8
        (0.1, -0.3, 0.5, ""),  # noise, but little beside 10 ms
        (3.0, 0.2, 5.8, ""),  # wide, and not as wide as the saving
    ],
)
def test_a_table_of_noise_is_not_planned_with(
    saved: float, low: float, high: float, says: str, table: LatencyTable, vit_groups: Groups
) -> None:
    mlp, heads = table.curves
    noisy = replace(table, curves=(replace(mlp, saved_ms=(saved, 0.0), low_ms=(low, 0.0), high_ms=(high, 0.0)), heads))
    budget = Budget(latency=0.9, target="onnxruntime:cpu")
    if not says:
        assert noisy.noise(vit_groups) == "" and budget.limit(vit_groups, [], noisy) == 9
        return
    with pytest.raises(
        PlanError, match=rf"too noisy to plan with \(.*{says}: measure it again with `secateur profile`"
    ):
        budget.limit(vit_groups, [], noisy)


def test_noise_of_all_families_together_and_of_operations(typed: LatencyTable, vit_groups: Groups) -> None:
    flat = [replace(curve, saved_ms=(0.0, 0.0), low_ms=(-0.4, 0.0), high_ms=(0.4, 0.0)) for curve in typed.curves]
    nothing = replace(typed, curves=tuple(flat), operations=())
    says = r"all families together are shown to save 0.000 ms, give or take 1.131"  # sqrt(2) * 2 groups * 0.4
    assert re.search(says, nothing.noise(vit_groups))
    (operation,) = typed.operations
    noisy = replace(operation, low_ms=(0.0, 0.5, -2.0), high_ms=(0.0, 3.5, 8.0))
    assert "fc1 and 1 more in int8 at 100% saves +3.000 ms, give or take 5.000" in replace(
        typed, operations=(noisy,)
    ).noise(vit_groups)
    many = replace(typed, operations=(noisy,) * 5).noise(vit_groups)
    assert many.count("give or take") == 3 and "; and 2 more)" in many


def test_a_table_goes_to_a_file_and_back(table: LatencyTable, tmp_path: Path) -> None:
    table.save(tmp_path / "latency.json")
    assert LatencyTable.load(tmp_path / "latency.json") == table
    write_json(tmp_path / "other.json", "latency", {"target": "x"})
    with pytest.raises(RunError, match="holds no latency table"):
        LatencyTable.load(tmp_path / "other.json")


@pytest.fixture
def typed(table: LatencyTable, vit_groups: Groups) -> LatencyTable:
    """The table with two operations that save 3 ms together in int8, and 2 ms at half of their MACs."""
    names = ("blocks.0.mlp.fc1", "blocks.0.mlp.fc2")
    macs = tuple(term.count({}) for name in names for term in vit_groups.terms if term.name == name)
    saved = (0.0, 2.0, 3.0)
    return replace(table, operations=(OperationCurve("int8", names, macs, (0.0, 0.5, 1.0), saved, saved, saved),))


def test_operations_save_in_their_precision_by_their_macs(typed: LatencyTable, vit_groups: Groups) -> None:
    one, both = {"blocks.0.mlp.fc1": "int8"}, {"blocks.0.mlp.fc1": "int8", "blocks.0.mlp.fc2": "int8"}
    assert typed.predict_ms(vit_groups, {}, one) == pytest.approx(10 - 1.5)
    assert typed.predict_ms(vit_groups, {}, both) == pytest.approx(10 - 3)
    assert typed.predict_ms(vit_groups, {}, {**both, "head": "int8", "patch_embed.proj": "fp32"}) == pytest.approx(7)
    half = {"blocks.0.mlp.hidden": range(96)}
    assert typed.predict_ms(vit_groups, half, both) == pytest.approx(10 - 2 - 2)
    half = {"blocks.0.mlp.hidden": range(48)}  # between no MACs and half of them
    assert typed.predict_ms(vit_groups, half, one) == pytest.approx(10 - 2 - 1 / 2)


def test_a_precision_that_was_not_measured_is_refused(typed: LatencyTable, vit_groups: Groups) -> None:
    with pytest.raises(PlanError, match="has times in fp32, int8, but none in fp8: measure it anew with `secateur pro"):
        typed.predict_ms(vit_groups, {}, {"head": "fp8"})
    with pytest.raises(PlanError, match="has times in fp32, but none in int8"):
        replace(typed, operations=()).predict_ms(vit_groups, {}, {"head": "int8"})
    assert typed.has("fp32", "int8") and not typed.has("fp16", "int8") and not typed.has("fp32", "fp8")


def test_a_table_of_before_is_read_as_fp32(typed: LatencyTable, vit_groups: Groups, tmp_path: Path) -> None:
    typed.save(path := tmp_path / "latency.json")
    assert LatencyTable.load(path) == typed
    content = json.loads(path.read_text())
    del content["wide"], content["operations"]
    path.write_text(json.dumps(content))
    assert LatencyTable.load(path) == replace(typed, operations=())


def test_what_does_not_fit_together_is_refused(table: LatencyTable, vit_groups: Groups) -> None:
    with pytest.raises(PlanError, match="needs the target"):
        Budget(latency=0.5)
    with pytest.raises(PlanError, match="only a latency has a target"):
        Budget(macs=0.5, target="torch:cpu")
    with pytest.raises(PlanError, match="measure with `secateur profile`"):
        Budget(latency=0.5, target="torch:cpu").limit(vit_groups, [])
    with pytest.raises(PlanError, match="is of onnxruntime:cpu"):
        Budget(latency=0.5, target="torch:cpu").limit(vit_groups, [], table)
    other = LatencyTable("torch:cpu", 1, "else", 1.0, (), ENVIRONMENT)
    with pytest.raises(PlanError, match="another model"):
        Budget(latency=0.5, target="torch:cpu").limit(vit_groups, [], other)
