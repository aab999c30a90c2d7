"""A traced model: which of its components stay under a plan, and modules written anew from it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from secateur.pipeline.structure.codegen.traced_model import TracedModel
from secateur.pipeline.structure.codegen.written_module import WrittenModule
from secateur.pipeline.structure.cutting import cut
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Groups
from secateur.pipeline.structure.plan import plan_from_kept
from tests.pipeline.structure.codegen.taking_over import Around, Code

EXAMPLE = torch.randn(1, 3, 6, 6)


def model() -> Around:
    inner = nn.Sequential(
        Code(lambda m, x: m.one(x.view(-1, 16, 6, 6)), one=nn.Conv2d(16, 12, 1)),
        nn.Sequential(nn.Conv2d(12, 16, 1), nn.ReLU()),
    )
    return Around(nn.Conv2d(3, 16, 1), inner, nn.Conv2d(16, 4, 1)).eval()


@pytest.fixture(scope="module")
def groups() -> Groups:
    return find_groups(model(), EXAMPLE, verify=False)


def traced_of(groups: Groups) -> TracedModel:
    assert groups.traced is not None
    return groups.traced


def test_components_stay_with_their_units(groups: Groups) -> None:
    traced = traced_of(groups)
    kept = {"first.channels": [0, 5], "inner.0.one.channels": [1]}
    alive = traced.alive(kept)
    for group in groups:
        for part in group.slices:
            components = traced.components.at[part.tensor, part.dim]
            expected = [unit in kept.get(group.name, range(group.units)) for unit in part.units]
            assert alive[torch.from_numpy(components)].tolist() == expected
    assert bool(traced.alive({}).all())
    assert bool(alive[traced.components.at["last.weight", 0]].all()), "what is in no group stays"


def test_modules_with_operations_of_their_own_have_code_of_their_own(groups: Groups) -> None:
    traced = traced_of(groups)
    names = {name: traced.own_code(name) for name, _ in model().named_modules()}
    assert {name for name, own in names.items() if own} == {
        *("first", "inner.0", "inner.0.one", "inner.1.0", "inner.1.1", "last"),
    }


def test_the_dense_model_is_run_once_for_all_modules() -> None:
    dense, runs = model(), []
    dense.register_forward_hook(lambda *_: runs.append(1))
    groups = find_groups(dense, EXAMPLE, verify=False)
    plan = plan_from_kept(groups, {"first.channels": [0, 3, 4]})
    small = cut(dense, groups, plan)
    counts = []
    for name in ("inner.0", "inner.1", "inner.0"):
        runs.clear()
        traced_of(groups).take_over(name, small, dense, torch.cat([EXAMPLE, EXAMPLE]), plan.kept)
        counts.append(len(runs))
    assert counts[0] > 0 and counts[1:] == [0, 0]


def test_only_modules_in_which_something_changes_are_written_anew(groups: Groups) -> None:
    dense = model()
    plan = plan_from_kept(groups, {"first.channels": [0, 3, 4]})
    small = cut(dense, replace(groups, adapted=()), plan)
    example = torch.cat([EXAMPLE, EXAMPLE])
    assert traced_of(groups).take_over("inner.0", small, dense, example, plan.kept)
    written = small.get_submodule("inner.0")
    assert isinstance(written, WrittenModule) and isinstance(written, Code)
    assert not traced_of(groups).take_over("inner.1", small, dense, example, plan.kept)
    assert not isinstance(small.get_submodule("inner.1"), WrittenModule)
    y = torch.randn(2, 3, 6, 6)
    assert written(y).shape == (2, 12, 6, 6)


def test_training_goes_on_in_the_mode_that_a_module_had(groups: Groups) -> None:
    dense = model()
    plan = plan_from_kept(groups, {"first.channels": [0, 3, 4]})
    small = cut(dense, replace(groups, adapted=()), plan).train()
    small.get_submodule("inner.0.one").eval()
    assert traced_of(groups).take_over("inner.0", small, dense, torch.cat([EXAMPLE, EXAMPLE]), plan.kept)
    written = small.get_submodule("inner.0")
    assert written.training
    assert not written.get_submodule("one").training, "a part that was frozen stays so"
    assert not dense.training


def test_the_trace_is_no_part_of_what_groups_are() -> None:
    one, two = (find_groups(model(), EXAMPLE, verify=False) for _ in range(2))
    assert one.traced is not two.traced and one == two
    assert "TracedModel" not in repr(one)
    assert isinstance(one.inputs.shape, tuple) and isinstance(EXAMPLE, Tensor)
