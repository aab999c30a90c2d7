"""The plan file, and what normalising a plan does."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from torch import nn

from secateur.core.errors import PlanError, RunError
from secateur.core.files import write_json
from secateur.pipeline.structure.groups import Groups
from secateur.pipeline.structure.plan import Plan, PlanFacts, plan_from_kept
from secateur.pipeline.structure.surgery import prune, verify

FACTS = PlanFacts("macs", 5.0, 4.5, 4.5, 9.0, 2, 3, "global", 8, "taylor")


def test_a_plan_is_read_as_it_was_written(vit_groups: Groups, tmp_path: Path) -> None:
    kept = {"blocks.0.mlp.hidden": [3, 1]}
    for facts in (FACTS, None):
        plan = plan_from_kept(vit_groups, kept, facts)
        plan.save(tmp_path / "plan.json")
        assert Plan.load(tmp_path / "plan.json") == plan
        assert plan.kept == {"blocks.0.mlp.hidden": (1, 3)}
        written = json.loads((tmp_path / "plan.json").read_text())
        assert list(written) == ["schema", "fingerprint", "input_shape", "kept", "notes"]
        assert written["notes"] == (asdict(facts) if facts else {})


def test_a_removed_head_takes_its_dimensions_along_and_the_other_way_round(vit_groups: Groups) -> None:
    kept = plan_from_kept(vit_groups, {"blocks.0.attn.heads": [0, 2], "blocks.1.attn.v": range(16, 48)}).kept
    assert kept["blocks.0.attn.qk"] == (*range(16), *range(32, 48))
    assert kept["blocks.1.attn.heads"] == (1, 2)
    assert kept["blocks.1.attn.qk"] == tuple(range(16, 48))


def test_complete_groups_are_left_out(vit_groups: Groups) -> None:
    assert plan_from_kept(vit_groups, {"blocks.0.attn.heads": [0, 1, 2]}).kept == {}


def test_units_out_of_range_are_refused(vit_groups: Groups) -> None:
    with pytest.raises(PlanError, match="units 0 to 2"):
        plan_from_kept(vit_groups, {"blocks.0.attn.heads": [3]})


def test_files_that_are_no_plans_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    with pytest.raises(RunError, match="cannot read"):
        Plan.load(path)
    path.write_text("{")
    with pytest.raises(RunError, match="not valid JSON"):
        Plan.load(path)
    write_json(path, "groups", {})
    with pytest.raises(RunError, match=r"'secateur\.groups/1'"):
        Plan.load(path)
    write_json(path, "plan", {"kept": {"a": [1]}})
    with pytest.raises(PlanError, match="no complete plan"):
        Plan.load(path)
    write_json(path, "plan", {"kept": {"a": ["x"]}, "fingerprint": "f", "input_shape": [1]})
    with pytest.raises(PlanError, match="keeps the unit x"):
        Plan.load(path)
    for notes, words in [
        ({**asdict(FACTS), "macs": "few"}, "notes.macs is 'few'"),
        ({"macs": 1.0}, "needs the option"),
    ]:
        write_json(path, "plan", {"kept": {}, "fingerprint": "f", "input_shape": [1], "notes": notes})
        with pytest.raises(PlanError, match=words):
            Plan.load(path)


def test_a_plan_is_shown_in_a_line_and_in_a_notebook_as_a_table(vit_groups: Groups) -> None:
    plan = plan_from_kept(vit_groups, {"blocks.0.mlp.hidden": range(150), "blocks.1.mlp.hidden": range(7)}, FACTS)
    assert repr(plan) == "Plan(2 groups cut, 157 of their units stay; 50.0 % of the MACs, 66.7 % of the parameters)"
    assert repr(plan_from_kept(vit_groups, {})) == "Plan(0 groups cut, 0 of their units stay)"
    table = plan._repr_html_()
    assert table.count("<tr>") == 3 and ">150</td>" in table and ">blocks.1.mlp.hidden</td>" in table


BAD_UNITS = [
    [-1],
    [1, -1],
    [3.7],
    [3.0],
    [2**31],
    [10**50],
    [1, 1],
    [2, 1],
    [True],
    ["1"],
    [None],
    [[1]],
    "12",
    {"1": 2},
    3,
]


@pytest.mark.parametrize("units", BAD_UNITS, ids=str)
def test_units_that_are_no_sorted_whole_numbers_are_refused_in_a_file(units: object, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    write_json(path, "plan", {"kept": {"blocks.0": units}, "fingerprint": "f", "input_shape": [1, 3, 8, 8]})
    with pytest.raises(PlanError, match=r"plan\.json: the group 'blocks\.0' keeps .*make the plan again"):
        Plan.load(path)


@pytest.mark.parametrize("units", [(-1,), (0.5,), (3,), (2**31,), (1, 1), (1, 0), (True,)], ids=str)
def test_units_that_are_no_sorted_whole_numbers_are_refused_by_surgery(
    units: tuple[int, ...], vit: nn.Module, vit_groups: Groups
) -> None:
    plan = Plan({"blocks.0.attn.heads": units}, vit_groups.fingerprint(), vit_groups.inputs)
    for call in (prune, lambda model, plan, groups: verify(model, model, plan, groups)):
        with pytest.raises(PlanError, match=r"'blocks\.0\.attn\.heads' (keeps|has the units 0 to 2)"):
            call(vit, plan, vit_groups)
    with pytest.raises(PlanError, match="no group 'blocks'"):
        prune(vit, Plan({"blocks": (0,)}, vit_groups.fingerprint(), vit_groups.inputs), vit_groups)


def test_a_plan_by_hand_is_of_whole_numbers(vit_groups: Groups) -> None:
    for units in ([1.5], [1.0], [True]):
        with pytest.raises(PlanError, match="units are whole numbers"):
            plan_from_kept(vit_groups, {"blocks.0.attn.heads": units})  # type: ignore[dict-item]  # what it refuses
