"""Statistics of normalisations in a pruned model: moved by what has changed, whatever the images are."""

from __future__ import annotations

import copy

import pytest
import torch
from timm.layers.norm_act import FrozenBatchNormAct2d
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from secateur.pipeline.recover.batch_norm import adapt_statistics, keeps_statistics, reestimate
from secateur.pipeline.recover.compensate import compensate
from secateur.pipeline.recover.narrowed import narrowed_by
from secateur.pipeline.recover.spec import Compensation
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Groups
from secateur.pipeline.structure.plan import Plan, plan_from_kept
from secateur.pipeline.structure.surgery import prune

Batches = list[tuple[Tensor, Tensor]]
CHANGES = {"same": (1.0, 0.0), "half the contrast": (0.5, 0.0), "brighter": (1.0, 1.0), "far darker": (0.3, -3.0)}
NORMS = ("1", "5")


def images(count: int, *sizes: int, scale: float = 1.0, shift: float = 0.0) -> Batches:
    x = scale * torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(count)) + shift
    return [(part, torch.zeros(len(part), dtype=torch.long)) for part in torch.split(x, list(sizes or (count,)))]


def make_model() -> nn.Module:
    """Two normalisations whose statistics fit seen images: of a map, and of what is left of it after pooling."""
    torch.manual_seed(0)
    parts = [
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8, eps=1e-9),
        nn.ReLU(),
        nn.Conv2d(8, 6, 3, bias=False),
        nn.AdaptiveAvgPool2d(1),
    ]
    model = nn.Sequential(*parts, nn.BatchNorm2d(6, eps=1e-9), nn.Flatten(), nn.Linear(6, 2))
    update_bn(images(64), model)
    return model.eval()


@pytest.fixture
def model() -> nn.Module:
    return make_model()


def everything(model: nn.Module) -> dict[str, Tensor]:
    """Masks that keep all channels."""
    return {name: torch.ones(len(model.get_submodule(name).running_mean)).bool() for name in NORMS}  # type: ignore[arg-type]  # a tensor


def read(model: nn.Module, batches: Batches, name: str) -> Tensor:
    """What a normalisation reads of all images, `[channels, values]` in float64."""
    found: list[Tensor] = []
    handle = model.get_submodule(name).register_forward_pre_hook(lambda _m, args: found.append(args[0]))
    with torch.no_grad():
        for x, _ in batches:
            model(x)
    handle.remove()
    return torch.cat(found).double().transpose(0, 1).flatten(1)


@pytest.fixture(scope="module")
def groups() -> Groups:
    """Those of every `model`."""
    return find_groups(make_model(), torch.zeros(2, 3, 8, 8))


def half(model: nn.Module, groups: Groups) -> tuple[nn.Module, dict[str, Tensor], Plan]:
    plan = plan_from_kept(groups, {next(group.name for group in groups if group.units == 8): [0, 2, 3, 7]})
    return prune(model, plan, groups), dict(narrowed_by(model, groups, plan).statistics), plan


@pytest.mark.parametrize("change", CHANGES)
def test_statistics_follow_the_definition(model: nn.Module, groups: Groups, change: str) -> None:
    """One batch, so that each normalisation sees what the final statistics of the one before make of it."""
    scale, shift = CHANGES[change]
    batches = images(12, scale=scale, shift=shift)
    small, stays, _ = half(model, groups)
    assert {name: int(mask.sum()) for name, mask in stays.items()} == {"1": 4, "5": 6}
    reestimate(small, model, stays, batches)
    for name in NORMS:
        dense, norm = model.get_submodule(name), small.get_submodule(name)
        eps = norm.eps
        wide, narrow = read(model, batches, name)[stays[name]], read(small, batches, name)
        mu, variance = (tensor.double()[stays[name]] for tensor in (dense.running_mean, dense.running_var))  # type: ignore[operator]  # tensors
        ratio = (narrow.var(1, correction=0) + eps) / (wide.var(1, correction=0) + eps)
        expected = narrow.mean(1) - (wide.mean(1) - mu) * ratio.sqrt()
        torch.testing.assert_close(norm.running_mean, expected.float(), rtol=1e-4, atol=1e-5)  # type: ignore[arg-type]  # tensors
        torch.testing.assert_close(norm.running_var, ((variance + eps) * ratio - eps).float(), rtol=1e-4, atol=1e-5)  # type: ignore[arg-type]  # tensors
        after, before = (
            part.eval()(whole.T.float()[..., None, None])[..., 0, 0]
            for part, whole in ((norm, narrow), (dense, read(model, batches, name)))
        )  # type: ignore[operator]  # modules
        torch.testing.assert_close(after.mean(0), before.mean(0)[stays[name]], rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(after.var(0), before.var(0)[stays[name]], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("change", CHANGES)
def test_what_has_not_changed_keeps_its_statistics(model: nn.Module, change: str) -> None:
    scale, shift = CHANGES[change]
    same = copy.deepcopy(model)
    reestimate(same, model, everything(model), images(9, 4, 1, 4, scale=scale, shift=shift))
    for name, value in model.state_dict().items():
        torch.testing.assert_close(same.state_dict()[name], value, rtol=1e-5, atol=1e-6)


def test_where_the_dense_statistics_are_those_of_the_images_so_are_the_small_ones(
    model: nn.Module, groups: Groups
) -> None:
    batches = images(16)
    update_bn(batches, model)
    small, stays, _ = half(model, groups)
    expected = copy.deepcopy(small)
    update_bn(batches, expected)
    reestimate(small, model, stays, batches)
    for name in ("running_mean", "running_var"):
        torch.testing.assert_close(
            small.get_buffer(f"1.{name}"), expected.get_buffer(f"1.{name}"), rtol=1e-3, atol=1e-5
        )


@pytest.mark.parametrize("sizes", [(1,) * 9, (8, 1), (1, 1, 7), (2, 3, 4)])
def test_batches_of_any_size_count_by_their_images(model: nn.Module, groups: Groups, sizes: tuple[int, ...]) -> None:
    small, stays, _ = half(model, groups)
    alike = copy.deepcopy(small)
    reestimate(small, model, stays, images(9, *sizes))
    reestimate(alike, model, stays, images(9))
    for name in ("running_mean", "running_var"):
        torch.testing.assert_close(small.get_buffer(f"1.{name}"), alike.get_buffer(f"1.{name}"), rtol=1e-4, atol=1e-5)
        assert torch.isfinite(small.get_buffer(f"5.{name}")).all()


def test_only_statistics_change_and_modes_are_left_alone(model: nn.Module, groups: Groups) -> None:
    small, stays, _ = half(model, groups)
    before, dense = copy.deepcopy(small.state_dict()), copy.deepcopy(model.state_dict())
    small.train()
    small.get_submodule("1").eval()
    reestimate(small, model, stays, images(8, 5, 3))
    changed = {key for key, value in small.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == {"5.running_mean", "5.running_var"}  # nothing has changed before the other one
    assert [module.training for module in small.children()] == [True, False, *[True] * 6]
    assert all(torch.equal(value, dense[key]) for key, value in model.state_dict().items())
    assert not any(module._forward_pre_hooks for module in (*model.modules(), *small.modules()))


def test_constant_channels_stay_finite(model: nn.Module, groups: Groups) -> None:
    """A dead channel has no variance: `eps` alone stands for it."""
    with torch.no_grad():
        model.get_parameter("0.weight")[:3] = 0
    small, stays, _ = half(model, groups)
    reestimate(small, model, stays, images(8))
    assert all(torch.isfinite(value).all() for value in small.state_dict().values())
    torch.testing.assert_close(small.get_buffer("1.running_mean"), model.get_buffer("1.running_mean")[[0, 2, 3, 7]])


@pytest.mark.parametrize("units", [15, 10])
@pytest.mark.parametrize("change", CHANGES)
def test_compensation_is_no_worse_than_surgery_on_images_of_another_kind(units: int, change: str) -> None:
    """The statistics are those of other images than the ones given, as with a backbone tuned with frozen ones."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for width in (3, 16, 16):
        layers += [nn.Conv2d(width, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Conv2d(16, 10, 1), nn.Flatten())
    update_bn(images(64), model)
    model.eval()
    scale, shift = CHANGES[change]
    batches, judged = (images(count, scale=scale, shift=shift) for count in (96, 97))
    groups = find_groups(model, torch.zeros(2, 3, 8, 8))
    plan = plan_from_kept(groups, {group.name: range(units) for group in groups})
    small = prune(model, plan, groups)
    repaired = compensate(small, model, plan, batches, groups=groups)
    with torch.no_grad():
        x = judged[0][0]
        errors = [float((model(x) - other(x)).square().mean()) for other in (small, repaired)]
    assert errors[1] < errors[0]


def test_modules_that_store_statistics_are_known_by_what_they_hold() -> None:
    norms = [nn.BatchNorm1d(2), nn.InstanceNorm2d(2, track_running_stats=True), FrozenBatchNormAct2d(2)]
    assert all(keeps_statistics(module) for module in norms)
    others = [nn.BatchNorm2d(2, track_running_stats=False), nn.LayerNorm(2), nn.GroupNorm(1, 2), nn.Linear(2, 2)]
    assert not any(keeps_statistics(module) for module in others)


def test_adapted_statistics_are_those_of_the_images(model: nn.Module, groups: Groups) -> None:
    small, _, _ = half(model, groups)
    batches = images(12, scale=0.3, shift=-3.0)
    adapt_statistics(small, batches)
    for name in NORMS:
        norm, values = small.get_submodule(name), read(small, batches, name)
        torch.testing.assert_close(norm.running_mean, values.mean(1).float(), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(norm.running_var, values.var(1, correction=0).float(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_images_that_are_shifted_are_told_apart_better_with_adapted_statistics(
    model: nn.Module, groups: Groups, share: float
) -> None:
    small, _, plan = half(model, groups)
    if share == 1:  # nothing is removed, and nothing to be repaired
        small, plan = model, Plan({}, plan.fingerprint, plan.inputs)
    (known, _), (given, labels), (test, _) = (*images(64), *images(32, scale=0.3, shift=-3.0), *images(64))
    wanted = model(known).argmax(1)  # as the dense model sees them unshifted

    def right(adapt: bool) -> float:
        repaired = compensate(small, model, plan, [(given, labels)], Compensation(adapt_statistics=adapt))
        return float((repaired(0.3 * test - 3.0).argmax(1) == wanted).float().mean())

    assert right(adapt=True) > max(0.7, right(adapt=False) + 0.2)
