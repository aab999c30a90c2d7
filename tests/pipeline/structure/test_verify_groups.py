"""A trial finds the groups that a model's code cannot do without, and keeps all the others."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from secateur.core.errors import ModelError, SurgeryError
from secateur.pipeline.structure.codegen.calls import CodeError
from secateur.pipeline.structure.codegen.traced_model import TracedModel
from secateur.pipeline.structure.describe import describe
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.plan import plan_from_kept
from secateur.pipeline.structure.surgery import prune
from secateur.pipeline.structure.verify_groups import verify_groups


class Block(nn.Module):
    """A hidden width that the code may look at, in a way that no graph tells."""

    def __init__(self, look: Callable[[Tensor], object] = lambda hidden: None) -> None:
        super().__init__()
        self.look = look
        self.one, self.two = nn.Linear(8, 12), nn.Linear(12, 8)

    def forward(self, x: Tensor) -> Tensor:
        with torch.enable_grad():  # so that its code cannot be taken over
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


class Rows(nn.Module):
    """A hidden width in so many rows, which the code of some instances repeats."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.rows = rows
        self.one, self.two = nn.Linear(8, 12), nn.Linear(12, 8)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.one(x).view(len(x), self.rows, -1).relu()
        return x + self.two(hidden.flatten(1))  # type: ignore[no-any-return]


@pytest.mark.parametrize("rows", [(12, 1), (1, 12, 1), (1, 1)])
def test_only_the_instances_that_need_it_get_other_code(rows: tuple[int, ...]) -> None:
    model = Chain(*map(Rows, rows)).eval()
    groups = find_groups(model, EXAMPLE)
    assert {group.name: group.units for group in groups if group.kind == "mlp_hidden"} == {
        f"blocks.{index}.hidden": 12 for index in range(len(rows))
    }
    assert groups.adapted == tuple(f"blocks.{index}" for index, count in enumerate(rows) if count > 1)
    small = prune(model, plan_from_kept(groups, {group.name: range(5) for group in groups}), groups)
    written = [type(small.get_submodule(f"blocks.{index}")) is not Rows for index in range(len(rows))]
    assert written == [count > 1 for count in rows]


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


class Positioned(nn.Module):
    """Attention that keeps its table of positions for the next picture of the same size, as ConViT's does."""

    def __init__(self) -> None:
        super().__init__()
        self.qk, self.v, self.proj, self.places = nn.Linear(8, 16), nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(1, 2)
        self.register_buffer("table", torch.zeros(1, 1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, _ = x.shape
        if self.table.shape[1] != tokens:
            ranks = torch.arange(tokens, dtype=torch.float32)
            self.table = (ranks[None] - ranks[:, None])[None, :, :, None]
        q, k = self.qk(x).reshape(batch, tokens, 2, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
        attention = (q @ k.transpose(-2, -1) / 2 + self.places(self.table).permute(0, 3, 1, 2)).softmax(-1)
        v = self.v(x).reshape(batch, tokens, 2, 4).transpose(1, 2)
        return x + self.proj((attention @ v).transpose(1, 2).reshape(batch, tokens, 8))


def test_what_modules_keep_from_a_run_does_not_come_between_them_and_their_graphs() -> None:
    model = nn.Sequential(nn.Linear(8, 8), Positioned(), Positioned()).eval()
    groups = find_groups(model, torch.randn(1, 5, 8))
    assert {group.kind for group in groups} >= {"head", "qk_dim", "v_dim"}
    assert set(groups.adapted) == {"1", "2"}
    assert model[1].table.shape == (1, 1, 1, 1), "the model is as it was"
    kept = {group.name: range(0, group.units, 2) for group in groups if group.kind in ("qk_dim", "v_dim")}
    small = prune(model, plan_from_kept(groups, kept), groups)
    assert small(torch.randn(3, 5, 8)).shape == (3, 5, 8)


class Gated(nn.Module):
    """Repeats numbers of units in its own code."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(6, 16), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.one(x).relu().reshape(len(x), 2, 8).unbind(1)
        out: Tensor = self.two(left * right)
        return out


class Outer(nn.Module):
    """One more module around another."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(x) + 1
        return out


def test_a_models_own_code_is_taken_over_like_that_of_any_module() -> None:
    torch.manual_seed(0)
    alone, around = (find_groups(model.eval(), EXAMPLE) for model in (Gated(), Outer(Gated())))
    assert [(group.name, group.units) for group in alone] == [("hidden", 8)]
    assert [(group.name, group.units) for group in around] == [("inner.hidden", 8)]
    assert (alone.adapted, around.adapted) == (("",), ("inner",))
    model = Gated().eval()
    small = prune(model, plan_from_kept(alone, {"hidden": [0, 3, 4]}), alone)
    assert type(small) is not Gated and isinstance(small, Gated)
    assert small(torch.randn(3, 6)).shape == (3, 5) and model(EXAMPLE).shape == (1, 5)


class Halves(nn.Module):
    """Cuts at a fixed position, which runs with fewer units and then computes something else."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.one, self.scale = nn.Linear(width, width), nn.Parameter(torch.rand(width))

    def forward(self, x: Tensor) -> Tensor:
        x = self.one(x)
        return torch.cat([x[..., :4].relu(), x[..., 4:]], -1) * self.scale


class Harmless(nn.Module):
    """Has code of its own that does with any number."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(8, 12), nn.Linear(12, 8)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.two(self.one(x).relu())
        return out


def test_of_code_that_computes_something_else_only_that_to_blame_is_taken_over() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), Harmless(), Halves(), Harmless(), nn.Linear(8, 3)).eval()
    groups = find_groups(model, EXAMPLE)
    assert groups.adapted == ("2",) and not groups.fixed


class Checked(nn.Module):
    """Insists on its width, and has no code that could be taken over."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(8, 12), nn.Linear(12, 8)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.one(x)
        twelve(hidden)
        out: Tensor = self.two(hidden)
        return out


class Wide(nn.Module):
    """Runs a module with code of its own, which taking over does not cure."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(x) * 2
        return out


def test_what_was_taken_over_in_vain_is_given_back() -> None:
    torch.manual_seed(0)
    groups = find_groups(nn.Sequential(nn.Linear(6, 8), Wide(Checked()), nn.Linear(8, 3)).eval(), EXAMPLE)
    assert groups.adapted == ()
    assert [fixed.name for fixed in groups.fixed] == ["1.inner.hidden"]
    assert groups.fixed[0].reason.endswith('raise ValueError("twelve units were expected")`')


def test_the_reason_says_why_the_code_that_fails_could_not_be_taken_over() -> None:
    torch.manual_seed(0)
    groups = find_groups(nn.Sequential(nn.Linear(6, 8), Wide(Block(twelve)), nn.Linear(8, 3)).eval(), EXAMPLE)
    (fixed,) = groups.fixed
    assert groups.adapted == () and fixed.name == "1.inner.hidden"
    assert fixed.reason.endswith(
        'units were expected")`, and the code of 1.inner cannot be taken over from the graph: it turns gradients on '
        "in a part of it"
    )


class Mixing(nn.Module):
    """Halves of channels, one of which may be scaled pixel by pixel, or at some sizes only."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 16, 1), nn.Conv2d(8, 4, 1)
        self.table = nn.Parameter(torch.rand(36)) if kind == "a table" else None
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.one(x).relu().split((8, 8), 1)
        if self.table is not None and right.shape[2] == 6:
            right = right * self.table.view(6, 6)
        if self.kind == "a condition" and right.shape[2] % 5 == 1:
            right = right * 2
        out: Tensor = self.two(left * right)
        return out


@pytest.mark.parametrize("kind", ["a table", "a condition", "any size"])
def test_code_that_works_at_one_size_from_now_on_is_told(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(0)
    model, one_size = nn.Sequential(Mixing(kind)).eval(), kind != "any size"
    groups = find_groups(model, torch.randn(1, 3, 6, 6))
    assert groups.adapted == ("0",) and groups.one_size == (("0",) if one_size else ())
    assert describe(groups).one_size == groups.one_size
    small = prune(model, plan_from_kept(groups, {"0.one.channels": [0, 3, 4]}), groups)
    told = "the size of the inputs is fixed now, since the code of 0 was taken over for float [batch, 3, 6, 6]"
    assert [told in record.message for record in caplog.records if record.levelname == "WARNING"] == [True] * one_size
    larger = torch.randn(2, 3, 8, 8)
    if one_size:
        with pytest.raises(SurgeryError, match="the code of 0 was taken over for one size of its inputs"):
            small(larger)
    else:
        assert small(larger).shape == (2, 4, 8, 8)
