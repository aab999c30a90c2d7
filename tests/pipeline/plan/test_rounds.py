"""Plans in rounds: budgets fall geometrically, what is gone stays gone, scores are of the model as it was repaired."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from secateur.core.errors import PlanError, RunError
from secateur.pipeline.plan.allocation import ALLOCATIONS, Instruments, find_allocation
from secateur.pipeline.plan.budget import Budget
from secateur.pipeline.plan.make import make_plan
from secateur.pipeline.plan.rounds import FILE, FinishedRounds, budgets_of, plan_in_rounds
from secateur.pipeline.recover.compensate import compensate
from secateur.pipeline.recover.spec import Compensation
from secateur.pipeline.scores.obs import Obs
from secateur.pipeline.scores.score import Scores, score
from secateur.pipeline.structure.groups import Groups
from secateur.pipeline.structure.plan import Plan
from secateur.pipeline.structure.surgery import cut
from tests.conftest import make_vit
from tests.pipeline.plan.test_make import ALL, random_scores

HALF = Budget(macs=0.5)
RANKING = [name for name in ALLOCATIONS.own() if not find_allocation(name).needs]


class Rescoring:
    """Random scores for what it is asked, another draw each time; notes the models and groups."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.asked: list[tuple[nn.Module, Groups]] = []

    def __call__(self, model: nn.Module, groups: Groups) -> Scores:
        self.asked.append((model, groups))
        return random_scores(groups, self.seed + len(self.asked))


def test_the_budgets_of_the_rounds_fall_geometrically(vit_groups: Groups) -> None:
    allocation, dense = find_allocation("global")(), vit_groups.macs()
    for budget in (Budget(macs=0.3), Budget(macs=f"{0.3 * dense / 1e6}M")):
        found = budgets_of(vit_groups, budget, 4, allocation, Instruments())
        names = [group.name for group in vit_groups]
        shares = [one.limit(vit_groups, names) / dense for one in found]
        assert shares == pytest.approx([0.3**0.25, 0.3**0.5, 0.3**0.75, 0.3])
        assert found[-1] == budget
    by_units = budgets_of(vit_groups, Budget(units=0.49), 2, allocation, Instruments())
    assert [one.units for one in by_units] == pytest.approx([0.7, 0.49])


@pytest.mark.parametrize("allocate", RANKING)
def test_one_round_is_the_plan_without_rounds(allocate: str, vit: nn.Module, vit_groups: Groups) -> None:
    scores, rescore = random_scores(vit_groups), Rescoring()
    one = plan_in_rounds(vit, vit_groups, scores, HALF, rescore, rounds=1, allocation=allocate, kinds=ALL, align=4)
    assert one == make_plan(vit_groups, scores, HALF, allocate, kinds=ALL, align=4)
    assert not rescore.asked


@settings(max_examples=6, deadline=None)
@given(
    st.sampled_from(RANKING),
    st.sampled_from(["macs", "params"]),
    st.sampled_from([1, 4, 8]),
    st.sampled_from([("mlp_hidden", "qk_dim", "v_dim"), ("head", "mlp_hidden"), ALL]),
    st.integers(2, 4),
    st.integers(0, 99),
)
def test_every_round_meets_its_budget_with_what_the_one_before_left(
    vit_groups: Groups, allocate: str, measure: str, align: int, kinds: tuple[str, ...], rounds: int, seed: int
) -> None:
    model, made = make_vit(), []

    def repaired(plan: Plan) -> nn.Module:
        made.append(plan)
        return cut(model, vit_groups, plan)

    budget, rescore = Budget(**{measure: 0.55}), Rescoring(seed)
    options = {"kinds": kinds, "align": align}
    last = plan_in_rounds(
        model, vit_groups, random_scores(vit_groups, seed), budget, rescore, repaired, rounds, allocate, **options
    )
    cost = vit_groups.macs if measure == "macs" else vit_groups.params
    plans = [*made, last]
    assert len(plans) == rounds
    for number, plan in enumerate(plans, start=1):
        assert cost(plan.kept) <= 0.55 ** (number / rounds) * cost() * (1 + 1e-9)
        assert cost(plan.kept) >= 0.55 ** (number / rounds) * cost() * 0.85  # steps of whole heads are coarse here
    for before, after in pairwise(plans):
        for name, units in before.kept.items():
            assert set(after.kept[name]) <= set(units)
    assert plans[-1].facts is not None and plans[-1].facts.limit == pytest.approx(0.55 * cost())
    for plan, (_, groups) in zip(made, rescore.asked, strict=True):
        assert {group.name for group in groups} == {
            group.name for group in vit_groups if group.kind in kinds and plan.kept.get(group.name, True)
        }


def test_units_go_by_the_scores_of_their_round(vit: nn.Module, vit_groups: Groups) -> None:
    """The first round takes the lowest dense scores; the second, of what is left, the lowest new ones."""
    name = "blocks.0.mlp.hidden"
    others = tuple(group.name for group in vit_groups if group.name != name)
    first, second = torch.arange(192.0), torch.arange(192.0).flip(0)

    def rescore(model: nn.Module, groups: Groups) -> Scores:
        assert [group.name for group in groups] == [name]
        return Scores({name: second}, "mine")

    uniform = find_allocation("uniform")(kinds=("mlp_hidden",), skip=others, align=1, least=1)
    scores, budget = Scores({name: first}, "mine"), Budget(units=0.25)
    plan = plan_in_rounds(vit, vit_groups, scores, budget, rescore, rounds=2, allocation=uniform)
    assert plan.kept[name] == tuple(range(96, 144))  # half of 192 by `first`, half of those by `second`


def test_a_round_is_scored_on_the_model_as_it_was_repaired(
    vit: nn.Module, vit_groups: Groups, batches: list[tuple[Tensor, Tensor]]
) -> None:
    repairs: list[nn.Module] = []

    def repaired(plan: Plan) -> nn.Module:
        repairs.append(compensate(cut(vit, vit_groups, plan), vit, plan, batches, groups=vit_groups))
        return repairs[-1]

    rescore = Rescoring()
    plan_in_rounds(vit, vit_groups, random_scores(vit_groups), HALF, rescore, repaired, rounds=3, allocation="knapsack")
    x = batches[0][0]
    assert len(repairs) == 2
    for small, (wide, _) in zip(repairs, rescore.asked, strict=True):
        with torch.no_grad():
            assert torch.allclose(small(x), wide(x), atol=1e-4)
            assert not torch.allclose(small(x), vit(x), atol=1e-2)


def test_the_plan_is_the_same_on_one_thread_and_on_two(
    vit: nn.Module, vit_groups: Groups, batches: list[tuple[Tensor, Tensor]]
) -> None:
    method, repair = Obs(rounds=4), Compensation(ridge=1e-3, front_to_back=False)

    def planned() -> Plan:
        return plan_in_rounds(
            vit,
            vit_groups,
            score(vit, vit_groups, batches, method),
            HALF,
            lambda model, groups: score(model, groups, batches, method),
            lambda plan: compensate(cut(vit, vit_groups, plan), vit, plan, batches, repair, vit_groups),
            rounds=2,
            align=4,
        )

    one = planned()
    torch.set_num_threads(2)
    try:
        assert planned() == one
    finally:
        torch.set_num_threads(1)


def test_a_round_that_is_done_is_not_done_again(tmp_path: Path, vit: nn.Module, vit_groups: Groups) -> None:
    given, scores = Instruments(folder=tmp_path, identity="a"), random_scores(vit_groups)
    whole = plan_in_rounds(vit, vit_groups, scores, HALF, Rescoring(), rounds=4, instruments=Instruments())

    class Stopped(Rescoring):
        def __call__(self, model: nn.Module, groups: Groups) -> Scores:
            if len(self.asked) == 1:
                raise KeyboardInterrupt
            return super().__call__(model, groups)

    with pytest.raises(KeyboardInterrupt):
        plan_in_rounds(vit, vit_groups, scores, HALF, Stopped(), rounds=4, instruments=given)
    rest = Rescoring(1)  # the first draw was made before it was stopped
    assert plan_in_rounds(vit, vit_groups, scores, HALF, rest, rounds=4, instruments=given) == whole
    assert len(rest.asked) == 2
    none = Rescoring()
    assert plan_in_rounds(vit, vit_groups, scores, HALF, none, rounds=4, instruments=given) == whole
    assert not none.asked


@pytest.mark.parametrize("change", ["identity", "scores", "budget", "rounds", "allocation", "options"])
def test_rounds_of_something_else_are_begun_anew(
    change: str, tmp_path: Path, vit: nn.Module, vit_groups: Groups
) -> None:
    first = {
        "scores": random_scores(vit_groups),
        "budget": HALF,
        "rounds": 2,
        "instruments": Instruments(folder=tmp_path, identity="a"),
        "allocation": "global",
    }
    others = {
        "identity": {"instruments": replace(first["instruments"], identity="b")},
        "scores": {"scores": random_scores(vit_groups, 1)},
        "budget": {"budget": Budget(macs=0.6)},
        "rounds": {"rounds": 3},
        "allocation": {"allocation": "uniform"},
        "options": {"align": 4},
    }
    plan_in_rounds(vit, vit_groups, rescore=Rescoring(), **first)
    again = Rescoring()
    plan_in_rounds(vit, vit_groups, rescore=again, **{**first, **others[change]})
    assert again.asked


def test_a_file_that_holds_no_rounds_is_refused(tmp_path: Path) -> None:
    assert FinishedRounds.begun(tmp_path, "a") == FinishedRounds("a")
    for content, words in [("{}", "schema"), ('{"schema": "secateur.rounds/1", "identity": "a"}', "holds no rounds")]:
        (tmp_path / FILE).write_text(content)
        with pytest.raises(RunError, match=words):
            FinishedRounds.begun(tmp_path, "a")


@pytest.mark.parametrize(
    ("rounds", "options", "method", "words"),
    [
        (0, {}, "random", "plan.rounds is 0, but must be a whole number from 1 to 64"),
        (65, {}, "random", "plan.rounds is 65"),
        (1.5, {}, "random", "plan.rounds is 1.5"),
        (True, {}, "random", "plan.rounds is True"),
        (2, {"allocation": "evolution"}, "random", "'evolution' measures the dense model"),
        (2, {"allocation": "xpruner"}, "random", "take knapsack, global or uniform"),
        (2, {}, "xmask", "the scores of xmask are learned once"),
        (2, {"align": 0}, "random", "align is 0"),
    ],
)
def test_what_cannot_be_planned_in_rounds_is_said(
    rounds: int, options: dict[str, object], method: str, words: str, vit: nn.Module, vit_groups: Groups
) -> None:
    scores = replace(random_scores(vit_groups), method=method)
    with pytest.raises(PlanError, match=words):
        plan_in_rounds(vit, vit_groups, scores, HALF, Rescoring(), rounds=rounds, **options)


def test_a_budget_out_of_reach_is_said_before_anything_is_scored(vit: nn.Module, vit_groups: Groups) -> None:
    rescore = Rescoring()
    with pytest.raises(PlanError, match="cannot be met"):
        plan_in_rounds(
            vit, vit_groups, random_scores(vit_groups), Budget(macs=0.05), rescore, rounds=4, kinds=("mlp_hidden",)
        )
    assert not rescore.asked
