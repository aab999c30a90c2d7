"""A small model beside the masked one: both with order-one weights, no real weight touched, a mistake's effect told."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from torch import Tensor, nn

from secateur.pipeline.structure.comparison import MARGIN, Comparison, compare, comparison_dtype
from secateur.pipeline.structure.cutting import cut
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Groups
from secateur.pipeline.structure.outputs import TOLERANCE
from secateur.pipeline.structure.plan import Plan, plan_from_kept
from tests.pipeline.structure.test_random_networks import Heads


def half_of(groups: Groups) -> Plan:
    return plan_from_kept(
        groups, {g.name: [u for u in range(g.units) if u % 2 == 0] for g in groups if g.kind != "head"}
    )


def run(model: nn.Module, small: nn.Module, groups: Groups, plan: Plan, dtype: torch.dtype | None = None) -> Comparison:
    comparison = Comparison(model, small, groups, plan, dtype=dtype)
    comparison.run()
    return comparison


def test_the_real_models_stay_as_they_are(vit: nn.Module, vit_groups: Groups) -> None:
    plan = half_of(vit_groups)
    small = cut(vit, vit_groups, plan).train()
    before = [copy.deepcopy(model.state_dict()) for model in (vit, small)]
    comparison = run(vit, small, vit_groups, plan)
    comparison.sensitivity()
    for model, tensors in zip((vit, small), before, strict=True):
        assert all(torch.equal(tensor, tensors[name]) for name, tensor in model.state_dict().items())
        assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    assert all(module.training for module in small.modules())


def test_what_is_cut_rightly_agrees_in_both_precisions(vit: nn.Module, vit_groups: Groups) -> None:
    plan = half_of(vit_groups)
    small = cut(vit, vit_groups, plan)
    for dtype in (torch.float32, torch.float64):
        comparison = run(vit, small, vit_groups, plan, dtype)
        assert comparison.agrees
        assert comparison.difference < TOLERANCE[dtype] / 10
        assert comparison.tolerance == TOLERANCE[torch.float32]  # that of the model's own precision


def test_the_measured_effect_is_that_of_the_mistake(vit: nn.Module, vit_groups: Groups) -> None:
    """Rolled by hand in the copy, the outputs move as far as `move` says; the estimate is within a factor of ten."""
    comparison = run(vit, cut(vit, vit_groups, plan := half_of(vit_groups)), vit_groups, plan)
    (wrong,) = comparison.wrong["blocks.1.mlp.hidden"]
    told = comparison.move(wrong)
    twin = copy.deepcopy(comparison.small)
    weight = twin.get_parameter("blocks.1.mlp.fc2.weight")
    weight.data = weight.data.roll(1, 1)
    (expected,) = (tensor.detach() for tensor in comparison.found)
    effect = (twin(comparison.x) - expected).abs().max() / expected.abs().max()
    assert told == pytest.approx(float(effect), rel=1e-3)
    assert comparison.sensitivity()["blocks.1.mlp.hidden"] > told / 10


def test_gradients_are_asked_for_only_where_the_outputs_agree(vit: nn.Module, vit_groups: Groups) -> None:
    small = cut(vit, vit_groups, plan := half_of(vit_groups))
    assert all(found.requires_grad for found in run(vit, small, vit_groups, plan).found)
    with torch.no_grad():
        small.get_submodule("blocks.1.mlp.fc2").weight.copy_(small.get_submodule("blocks.1.mlp.fc2").weight.roll(1, 1))
    wrong = run(vit, small, vit_groups, plan)
    assert not wrong.agrees
    assert not any(found.requires_grad for found in wrong.found)


def test_groups_that_the_estimate_leaves_in_doubt_are_measured(
    vit: nn.Module, vit_groups: Groups, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "secateur.pipeline.structure.comparison.estimated_moves", lambda _small, wrong, _outputs: [0.0] * len(wrong)
    )
    plan = half_of(vit_groups)
    comparison = run(vit, cut(vit, vit_groups, plan), vit_groups, plan)
    assert min(comparison.sensitivity().values()) > MARGIN * comparison.tolerance


def test_a_group_is_as_visible_as_its_least_visible_reader(vit: nn.Module, vit_groups: Groups) -> None:
    plan = half_of(vit_groups)
    comparison = run(vit, cut(vit, vit_groups, plan), vit_groups, plan)
    stream = comparison.wrong["patch_embed.proj.width"]
    assert {reader.tensor for reader in stream} >= {"head.weight", "blocks.1.mlp.fc1.weight"}
    for reader in stream:
        assert comparison.move(reader) > MARGIN * comparison.tolerance
    hidden = comparison.small.get_parameter("blocks.1.mlp.fc1.weight")
    hidden.data = hidden.data.mean(1, keepdim=True).expand_as(hidden).contiguous()  # reads all units alike
    comparison.run()
    assert comparison.sensitivity()["patch_embed.proj.width"] < comparison.tolerance


def test_half_precision_is_compared_in_single(vit: nn.Module, vit_groups: Groups) -> None:
    plan = half_of(vit_groups)
    for dtype in (torch.float16, torch.bfloat16):
        model = copy.deepcopy(vit).to(dtype)
        comparison = run(model, cut(model, vit_groups, plan), vit_groups, plan)
        assert comparison_dtype(model) == comparison.dtype == torch.float32
        assert comparison.difference < TOLERANCE[torch.float32]
        assert {parameter.dtype for parameter in model.parameters()} == {dtype}
        assert min(comparison.sensitivity().values()) > MARGIN * comparison.tolerance


def in_bfloat16(heads: nn.Module) -> tuple[nn.Module, Groups, Plan, Comparison]:
    """A model with attention over pixels, whose code is taken from the graph, and the comparison of its half."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 1), heads, nn.Conv2d(8, 8, 1), nn.Flatten(), nn.Linear(128, 5))
    model = model.eval().bfloat16()
    groups = find_groups(model, torch.zeros(1, 3, 4, 4, dtype=torch.bfloat16))
    kept = {g.name: [u for u in range(g.units) if u % (g.units // g.blocks) % 2 == 0] for g in groups}
    plan = plan_from_kept(groups, kept)
    assert groups.adapted == ("1",)
    assert {"head", "qk_dim"} <= {group.kind for group in groups}
    return model, groups, plan, compare(model, cut(model, groups, plan), groups, plan)


def test_code_that_was_traced_in_half_precision_is_compared_in_single_too() -> None:
    model, groups, plan, comparison = in_bfloat16(Heads(8))
    assert comparison.dtype == torch.float32
    assert comparison.agrees
    assert run(model, cut(model, groups, plan), groups, plan, torch.float64).agrees


def test_code_that_insists_on_half_precision_is_compared_in_it() -> None:
    class Typed(Heads):
        def forward(self, x: Tensor) -> Tensor:
            if x.dtype != torch.bfloat16:
                raise RuntimeError("this kernel knows half precision only")
            out: Tensor = super().forward(x)
            return out

    comparison = in_bfloat16(Typed(8))[-1]
    assert comparison.dtype == torch.bfloat16
    assert comparison.tolerance == TOLERANCE[torch.bfloat16]
    assert comparison.agrees


def test_amplified_rounding_is_no_disagreement(
    vit: nn.Module, vit_groups: Groups, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if single precision were coarse enough to mistake one for the other."""
    monkeypatch.setitem(TOLERANCE, torch.float32, 1e-12)
    plan = half_of(vit_groups)
    small = cut(vit, vit_groups, plan)
    found = compare(vit, small, vit_groups, plan)
    assert found.dtype == torch.float64
    assert found.agrees
    weight = small.get_parameter("blocks.0.mlp.fc2.weight")
    weight.data = weight.data.roll(1, 1)
    assert not compare(vit, small, vit_groups, plan).agrees


def test_double_precision_decides_for_layers_of_other_classes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """timm's linear layers might compute their weights, which is tried where they are no plain ones."""
    monkeypatch.setitem(TOLERANCE, torch.float32, 1e-12)
    model = nn.Sequential(timm.layers.Linear(6, 8), nn.ReLU(), timm.layers.Linear(8, 5)).eval()
    groups = find_groups(model, torch.zeros(1, 6), verify=False)
    found = compare(model, cut(model, groups, half_of(groups)), groups, half_of(groups))
    assert found.dtype == torch.float64 and found.agrees


def test_code_that_insists_on_single_precision_keeps_its_first_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    class Single(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(6, 8), nn.Linear(8, 5)

        def forward(self, x: Tensor) -> Tensor:
            if x.dtype != torch.float32:
                raise RuntimeError("this kernel knows single precision only")
            out: Tensor = self.two(self.one(x))
            return out

    monkeypatch.setitem(TOLERANCE, torch.float32, 1e-12)
    model = Single().eval()
    groups = find_groups(model, torch.zeros(1, 6), verify=False)
    plan = half_of(groups)
    found = compare(model, cut(model, groups, plan), groups, plan)
    assert found.dtype == torch.float32
    assert not found.agrees


class Failing(nn.Linear):
    """A layer that raises `error` in double precision."""

    error: Exception | None = None

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype == torch.float64 and self.error is not None:
            raise self.error
        return super().forward(x)


@pytest.mark.parametrize(
    ("which", "error"),
    [
        ("small", RuntimeError("mat1 and mat2 shapes cannot be multiplied")),
        ("small", NotImplementedError("no kernel for 'Double'")),
        ("dense", torch.OutOfMemoryError("CUDA out of memory")),
        ("dense", RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")),
    ],
)
def test_only_a_dense_model_that_does_not_run_shows_that_a_precision_is_not_known(
    which: str, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TOLERANCE, torch.float32, 1e-12)
    model = nn.Sequential(Failing(6, 8), nn.ReLU(), nn.Linear(8, 5)).eval()
    groups = find_groups(model, torch.zeros(1, 6), verify=False)
    small = cut(model, groups, half_of(groups))
    (model if which == "dense" else small)[0].error = error
    with pytest.raises(type(error), match=str(error)[:20]):
        compare(model, small, groups, half_of(groups))


def test_a_model_of_double_precision_is_held_to_its_own() -> None:
    model = timm.create_model("test_resnet", num_classes=5).eval().double()
    groups = find_groups(model, torch.zeros(1, 3, 32, 32, dtype=torch.float64), verify=False)
    plan = plan_from_kept(groups, {g.name: range(0, g.units, 2) for g in groups})
    comparison = run(model, cut(model, groups, plan), groups, plan)
    assert comparison.tolerance == TOLERANCE[torch.float64]
    assert comparison.agrees
