"""The proof can fail: a wrong reader of any group is noticed and named, also where the real weights hide it."""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import secateur
from secateur.core.errors import PlanError, SurgeryError
from secateur.pipeline.structure.comparison import Comparison
from secateur.pipeline.structure.cutting import cut
from secateur.pipeline.structure.equivalence import MARGIN, Verification, unverifiable, verify_equivalence
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Groups
from secateur.pipeline.structure.plan import Plan, plan_from_kept
from secateur.pipeline.structure.surgery import prune, verify
from secateur.pipeline.structure.wrong_readers import planted, wrong_readers
from tests.later import mostly_nightly
from tests.pipeline.structure.test_random_networks import PIECES, Net, plan_for

HIDING: dict[str, dict[str, Any]] = {
    "cait_xxs24_224": {"img_size": 32, "depth": 2},
    "test_convnext": {},
    "fastvit_t8": {"layers": (1, 1, 1, 1)},
    "regnetx_002": {},
    "inception_next_atto": {"depths": (1, 1, 1, 1), "dims": (16, 24, 32, 40)},
    "efficientformer_l1": {"depths": (1, 1, 1, 2), "num_vit": 1, "embed_dims": (16, 24, 32, 40)},
}
"""Models whose last normalisations or LayerScales are zero or tiny as timm initialises them, as small as they come; the
study of coverage plants readers in all families."""
QUICK = ("test_convnext", "fastvit_t8", "regnetx_002")
SIDES = {"efficientformer_l1": 224, "cait_xxs24_224": 32}


def built(name: str, **kwargs: Any) -> tuple[nn.Module, Groups, Plan]:
    """A model, its groups and a plan that keeps half of each group's units."""
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=7, **kwargs).eval()
    side = SIDES.get(name, 64)
    groups = find_groups(model, torch.zeros(1, 3, side, side))
    kept = {g.name: [u for u in range(g.units) if u % (g.units // g.blocks) % 2 == 0] for g in groups}
    return model, groups, plan_from_kept(groups, kept)


@pytest.mark.parametrize("name", mostly_nightly(HIDING, QUICK))
def test_every_wrong_reader_is_noticed_though_the_weights_hide_it(name: str) -> None:
    model, groups, plan = built(name, **HIDING[name])
    small = prune(model, plan, groups)
    found = verify_equivalence(model, small, groups, plan)
    assert not groups.unverifiable
    assert not found.unverifiable
    assert set(found.sensitivity) == set(plan.kept)
    comparison = Comparison(model, small, groups, plan)
    comparison.run()
    moves = {name: min(comparison.move(reader) for reader in wrong) for name, wrong in comparison.wrong.items()}
    assert min(moves.values()) > MARGIN * comparison.tolerance, moves
    assert set(moves) == set(plan.kept)
    blamed = random.Random(0).choice(list(plan.kept))
    wrong = wrong_readers(groups, groups.named(blamed), plan, small)
    with planted(small, wrong), pytest.raises(SurgeryError) as error:
        verify(small, model, plan, groups)
    places = [group.name for group in groups if any(part.tensor == wrong[0].tensor for part in group.slices)]
    assert any(f"the group {group!r} disagrees" in str(error.value) for group in places)
    assert isinstance(verify(small, model, plan, groups), Verification)


@pytest.mark.nightly
def test_with_the_real_weights_alone_nothing_would_be_noticed() -> None:
    """What this file guards against: the outputs of the model itself do not move when its blocks compute nonsense."""
    model, groups, plan = built("test_convnext")
    small = prune(model, plan, groups)
    x = torch.randn(2, 3, 64, 64)
    wrong = wrong_readers(groups, groups.named("stages.2.blocks.0.mlp.hidden"), plan, small)
    with torch.no_grad():
        right = small(x)
        with planted(small, wrong):
            assert (small(x) - right).abs().max() < 1e-4 * right.abs().max()
    with planted(small, wrong), pytest.raises(SurgeryError, match=r"stages\.2\.blocks\.0\.mlp\.hidden"):
        verify(small, model, plan, groups)


def test_nonsense_within_the_blocks_is_found_for_the_weights_that_timm_initialises() -> None:
    model, groups, plan = built("test_resnet", zero_init_last=True)
    small = prune(model, plan, groups)
    for name, parameter in small.named_parameters():
        if "layer" in name and parameter.ndim == 4 and "downsample" not in name:
            parameter.data.copy_(-3 * parameter.data.flip(0))
    with pytest.raises(SurgeryError, match="disagrees"):
        verify(small, model, plan, groups)


def test_a_checkpoint_with_a_tiny_layer_scale_is_verified_as_well() -> None:
    """As after training: all weights are ordinary, but the branches add a millionth to the stream."""
    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=2, init_values=1e-6, num_classes=5).eval()
    for name, parameter in model.named_parameters():
        parameter.data = 1e-6 * torch.rand(192) if "gamma" in name else 0.1 * torch.randn_like(parameter)
    groups = find_groups(model, torch.zeros(1, 3, 32, 32))
    assert not groups.unverifiable
    plan = plan_from_kept(groups, {group.name: range(0, group.units, 2) for group in groups if group.kind != "head"})
    small = prune(model, plan, groups)
    assert torch.equal(small.get_parameter("blocks.0.ls1.gamma"), model.get_parameter("blocks.0.ls1.gamma")[::2])
    found = verify(small, model, plan, groups)
    assert min(found.sensitivity.values()) > MARGIN * found.tolerance
    wrong = wrong_readers(groups, groups.named("blocks.1.mlp.hidden"), plan, small)
    with planted(small, wrong), pytest.raises(SurgeryError, match=r"'blocks\.1\.mlp\.hidden' disagrees"):
        verify(small, model, plan, groups)
    gamma = small.get_parameter("blocks.1.ls2.gamma")
    gamma.data = gamma.data.roll(1)
    with pytest.raises(SurgeryError, match=r"blocks\.1\.ls2\.gamma is not what the plan leaves"):
        verify(small, model, plan, groups)


@settings(max_examples=8, deadline=None)
@given(st.lists(st.integers(0, len(PIECES) - 1), min_size=1, max_size=2), st.integers(0, 99), st.data())
def test_any_wrong_reader_in_random_networks_is_noticed_or_said_to_be_hidden(
    chosen: list[int], seed: int, data: st.DataObject
) -> None:
    model = Net(chosen, 8, seed).eval()
    groups = find_groups(model, torch.zeros(1, 3, 4, 4))
    plan = plan_for(groups, seed)
    small = prune(model, plan, groups)
    if not plan.kept:
        return
    found = verify(small, model, plan, groups)
    assert set(found.sensitivity) | {hidden.name for hidden in found.unverifiable} == set(plan.kept)
    name = data.draw(st.sampled_from(sorted(plan.kept)))
    wrong = wrong_readers(groups, groups.named(name), plan, small)
    with planted(small, wrong):
        if name in {hidden.name for hidden in found.unverifiable}:
            return
        with pytest.raises(SurgeryError, match="disagree"):
            verify(small, model, plan, groups)


class Deaf(nn.Module):
    """A branch whose result is multiplied by zero: whatever is removed from it, the outputs are the same."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.one, self.two, self.last = nn.Linear(6, 8), nn.Linear(8, 12), nn.Linear(12, 8), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        out: Tensor = self.last(x + 0 * self.two(self.one(x).relu()))
        return out


def test_a_group_that_moves_nothing_is_named_and_told(caplog: pytest.LogCaptureFixture) -> None:
    model = Deaf().eval()
    groups = find_groups(model, torch.zeros(1, 6))
    assert [hidden.name for hidden in groups.unverifiable] == ["first.width", "hidden"]  # read by the branch, and in it
    plan = plan_from_kept(groups, {"hidden": range(6)})
    small = prune(model, plan, groups)
    assert "not verifiable: hidden: reading wrong units of it moves the outputs by 0.0e+00" in caplog.text
    assert [hidden.name for hidden in verify(small, model, plan).unverifiable] == ["hidden"]


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_gradients_need_not_be_asked_for(mode: type[torch.no_grad], vit: nn.Module, vit_groups: Groups) -> None:
    plan = plan_from_kept(vit_groups, {"blocks.0.mlp.hidden": range(10)})
    with mode():
        small = prune(vit, plan, vit_groups)
        assert verify(small, vit, plan, vit_groups).sensitivity["blocks.0.mlp.hidden"] > 1e-2


def test_what_is_not_far_above_the_tolerance_is_unverifiable() -> None:
    found = unverifiable(
        ["strong", "weak", "gone", "broken"], {"strong": 2e-3, "weak": 5e-4, "broken": float("nan")}, 1e-3
    )
    assert [hidden.name for hidden in found] == ["weak", "gone", "broken"]
    assert "nothing of it is left" in found[1].reason


def test_models_that_are_changed_in_size_or_kind_are_refused(vit: nn.Module, vit_groups: Groups) -> None:
    plan = plan_from_kept(vit_groups, {"blocks.0.mlp.hidden": range(10)})
    other = cut(vit, vit_groups, plan_from_kept(vit_groups, {"blocks.0.mlp.hidden": range(12)}))
    with pytest.raises(SurgeryError, match=r"'blocks\.0\.mlp\.hidden' disagrees"):
        verify(other, vit, plan, vit_groups)
    with pytest.raises(PlanError, match="another architecture"):
        verify(other, vit, Plan(plan.kept, "other", plan.inputs), vit_groups)
    trained = prune(vit, plan, vit_groups)
    for parameter in trained.parameters():
        parameter.data += 0.01
    with pytest.raises(SurgeryError, match="before it is trained or changed"):
        verify(trained, vit, plan, vit_groups)


def test_the_facade_verifies(vit: nn.Module, vit_groups: Groups) -> None:
    plan = plan_from_kept(vit_groups, {"blocks.0.attn.heads": [0, 2], "blocks.1.mlp.hidden": []})
    found = secateur.verify(secateur.prune(vit, plan), vit, plan)
    assert isinstance(found, Verification)
    assert set(found.sensitivity) == set(plan.kept)
    assert found.difference < found.tolerance == 1e-4
    assert found.unverifiable == ()


def test_a_model_of_real_weights_is_verified(real_data: Path) -> None:
    model = secateur.create_model(
        "deit_tiny_patch16_224", weights=real_data / "weights" / "deit_tiny_patch16_224.safetensors"
    )
    groups = find_groups(model, torch.zeros(1, 3, 224, 224))
    assert not groups.unverifiable
    plan = plan_from_kept(groups, {"blocks.5.mlp.hidden": range(300), "blocks.7.attn.heads": [1]})
    small = prune(model, plan, groups)
    before = copy.deepcopy(small.state_dict())
    assert min(verify(small, model, plan, groups).sensitivity.values()) > 1e-3
    assert all(torch.equal(tensor, before[name]) for name, tensor in small.state_dict().items())
