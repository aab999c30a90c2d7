"""A trial finds the groups that a model's code cannot do without, and keeps all the others."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from secateur.core.errors import ModelError
from secateur.pipeline.structure.codegen.calls import CodeError
from secateur.pipeline.structure.codegen.traced_model import TracedModel
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Group
from secateur.pipeline.structure.plan import plan_from_kept
from secateur.pipeline.structure.surgery import prune
from secateur.pipeline.structure.verify_groups import _some_gone, verify_groups


class Block(nn.Module):
    """A hidden width that the code may look at, in a way that no graph tells."""

    def __init__(self, look: Callable[[Tensor], object] = lambda hidden: None) -> None:
        super().__init__()
        self.look = look
        self.one, self.two = nn.Linear(8, 12), nn.Linear(12, 8)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):  # so that its code cannot be taken over
            hidden = self.one(x).relu()
        self.look(hidden)
        out: Tensor = x + self.two(hidden)
        return out


class Chain(nn.Module):
    """Blocks between two layers."""

    def __init__(self, *blocks: nn.Module) -> None:
        super().__init__()
        self.first, self.blocks, self.last = nn.Linear(6, 8), nn.ModuleList(blocks), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.last(x)
        return out


def twelve(hidden: Tensor) -> None:
    """Insists on all units."""
    if hidden.shape[-1] != 12:
        raise ValueError("twelve units were expected")


EXAMPLE = torch.randn(1, 6)


def test_a_model_that_runs_with_fewer_units_keeps_all_groups() -> None:
    groups = find_groups(Chain(Block(), Block()).eval(), EXAMPLE, verify=False)
    found = verify_groups(Chain(Block(), Block()).eval(), groups)
    assert found.groups == groups.groups
    assert found.fixed == groups.fixed
    assert found.adapted == ()


def test_only_the_group_that_the_code_insists_on_is_fixed() -> None:
    class Insisting(Block):
        """Another class: a group at the same place of a like module is blamed with it."""

    model = Chain(Block(), Insisting(twelve), Block()).eval()
    groups = find_groups(model, EXAMPLE)
    assert [fixed.name for fixed in groups.fixed] == ["blocks.1.hidden"]
    assert "twelve units were expected" in groups.fixed[0].reason
    assert {group.name for group in groups} == {"blocks.0.hidden", "blocks.2.hidden", "first.width"}


def test_groups_at_the_same_place_of_like_modules_are_fixed_at_once() -> None:
    model = Chain(Block(), Block(twelve), Block()).eval()
    groups = find_groups(model, EXAMPLE)
    assert {fixed.name for fixed in groups.fixed} == {f"blocks.{index}.hidden" for index in range(3)}


def test_what_is_fixed_is_in_no_cost_and_the_fingerprint_stays() -> None:
    model = Chain(Block(twelve)).eval()
    groups = find_groups(model, EXAMPLE)
    assert groups.fingerprint() == find_groups(model, EXAMPLE, verify=False).fingerprint()
    names = {name for term in groups.terms for axis in term.axes for name, _ in axis.members}
    assert names == {group.name for group in groups} == {"first.width"}
    small = prune(model, plan_from_kept(groups, {"first.width": [0, 3]}), groups)
    assert small.get_submodule("blocks.0.one").weight.shape == (12, 2)


def test_a_model_that_computes_something_else_is_found_out() -> None:
    class Rolled(nn.Module):
        """Runs with any number of units, but pairs each with the weights of another."""

        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(6, 12), nn.Linear(12, 5)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.two(self.one(x).roll(5, -1))
            return out

    with pytest.raises(ModelError, match="relies on their number or order"):
        find_groups(Rolled().eval(), EXAMPLE)


def test_a_trial_leaves_the_model_as_it_was() -> None:
    model = Chain(Block(), Block(twelve))
    before = copy.deepcopy(model.state_dict())
    model.train()
    find_groups(model, EXAMPLE)
    assert all(module.training for module in model.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert list(before) == list(model.state_dict())
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())


def test_nothing_left_is_said_with_the_codes_own_words() -> None:
    class Only(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(6, 12), nn.Linear(12, 5)

        def forward(self, x: Tensor) -> Tensor:
            hidden = self.one(x)
            twelve(hidden)
            out: Tensor = self.two(hidden)
            return out

    with pytest.raises(ModelError, match=r"nothing can be removed from this Only: .*twelve units were expected"):
        find_groups(Only().eval(), EXAMPLE)


class Heads(nn.Module):
    """Attention whose code repeats the number of dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(8, 24), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).reshape(len(x), -1, 3, 2, 4).permute(2, 0, 3, 1, 4)
        out: Tensor = self.proj(((q @ k.mT).softmax(-1) @ v).transpose(1, 2).flatten(2))
        return out


def test_dimensions_in_the_way_of_a_take_over_are_fixed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    original = TracedModel.take_over

    def take_over(self: TracedModel, name: str, *args: Any, **kwargs: Any) -> Any:
        if f"{name}.qkv.qk" in args[-1]:
            raise CodeError(name, "it wants as many queries as values")
        return original(self, name, *args, **kwargs)

    monkeypatch.setattr(TracedModel, "take_over", take_over)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), Heads(), Heads(), nn.Linear(8, 3)).eval()
    groups = find_groups(model, torch.randn(1, 5, 6))
    expected = "the code of {} cannot be taken over from the graph: it wants as many queries as values"
    assert {one.name: one.reason for one in groups.fixed} == {f"{n}.qkv.qk": expected.format(n) for n in (1, 2)}
    assert {group.name for group in groups} >= {f"{n}.qkv.{part}" for n in (1, 2) for part in ("heads", "v")}


def test_more_go_from_one_half_of_units_that_have_no_blocks() -> None:
    def gone(units: int, blocks: int) -> list[int]:
        kept = _some_gone(Group("x", "channel", units, (), blocks=blocks), 3)
        return sorted(set(range(units)) - set(kept))

    assert gone(24, 1) == [1, 4, 7, 10, 16, 22]
    assert gone(4, 1) == [1]
    assert gone(12, 2) == [1, 4, 8, 11]


@pytest.mark.parametrize("width", range(3, 70))
def test_more_or_fewer_query_than_value_dimensions_go(width: int) -> None:
    """Code that expects as many of both would otherwise fail with the first plan that keeps other numbers."""
    for steps in ((3, 4), (4, 5), (5, 3)):
        qk, v = (
            len(_some_gone(Group("x", kind, 2 * width, (), blocks=2), step))
            for kind, step in zip(("qk_dim", "v_dim"), steps, strict=True)
        )
        assert 0 < qk < 2 * width and 0 < v < 2 * width and qk != v
