"""Statistics of batch normalisations: averages over all images, whatever the batches, and nothing else changes."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from secateur.core.errors import DataError
from secateur.pipeline.recover.batch_norm import reestimate


def images(count: int) -> Tensor:
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(count)) + 0.5


def in_batches(x: Tensor, *sizes: int) -> list[tuple[Tensor, Tensor]]:
    return [(part, torch.zeros(len(part), dtype=torch.long)) for part in torch.split(x, list(sizes))]


@pytest.fixture
def model() -> nn.Module:
    """Two normalisations: of a map, and of what is left of it after global pooling."""
    torch.manual_seed(0)
    parts = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.BatchNorm1d(4)]
    return nn.Sequential(*parts, nn.Linear(4, 2))


def test_one_batch_gives_its_own_statistics(model: nn.Module) -> None:
    x = images(6)
    reestimate(model, in_batches(x, 6))
    y = model[0](x)  # type: ignore[index]  # a sequential
    norm = model.get_submodule("1")
    torch.testing.assert_close(norm.running_mean, y.mean((0, 2, 3)).detach())
    torch.testing.assert_close(norm.running_var, y.transpose(0, 1).flatten(1).var(1).detach())


def test_batches_count_by_their_images(model: nn.Module) -> None:
    x = images(10)
    reestimate(model, in_batches(x, 8, 2))
    y = model[0](x)  # type: ignore[index]  # a sequential
    parts = [part.transpose(0, 1).flatten(1).var(1) for part in torch.split(y, [8, 2])]
    norm = model.get_submodule("1")
    torch.testing.assert_close(norm.running_mean, y.mean((0, 2, 3)).detach())
    torch.testing.assert_close(norm.running_var, (0.8 * parts[0] + 0.2 * parts[1]).detach())


@pytest.mark.parametrize("sizes", [(4, 4, 1), (1, 4, 4), (4, 1, 4), (1,) * 9, (1, 1, 7), (8, 1)])
def test_single_images_take_part_with_others(model: nn.Module, sizes: tuple[int, ...]) -> None:
    """A batch of one has no variance after global pooling: it goes with its neighbours, and counts."""
    x = images(9)
    reestimate(model, in_batches(x, *sizes))
    y = model[0](x)  # type: ignore[index]  # a sequential
    torch.testing.assert_close(model.get_submodule("1").running_mean, y.mean((0, 2, 3)).detach())
    assert torch.isfinite(model.get_submodule("5").running_var).all()


def test_only_statistics_change_and_old_ones_are_forgotten(model: nn.Module) -> None:
    before = copy.deepcopy(model.state_dict())
    model.get_submodule("1").running_mean.fill_(float("nan"))  # type: ignore[operator]  # a tensor
    model.train()
    model.get_submodule("1").eval()
    reestimate(model, in_batches(images(8), 5, 3))
    changed = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == {f"{n}.{name}" for n in (1, 5) for name in ("running_mean", "running_var", "num_batches_tracked")}
    assert [module.training for module in model] == [True, False, *[True] * 5]  # type: ignore[attr-defined]  # as above
    assert {model.get_submodule(n).momentum for n in ("1", "5")} == {0.1}


def test_too_few_images_and_errors_leave_the_settings_alone(model: nn.Module) -> None:
    for batches in ([], in_batches(images(1), 1)):
        with pytest.raises(DataError, match="two images at least"):
            reestimate(model, batches)
    with pytest.raises(RuntimeError):
        reestimate(model, [(torch.zeros(2, 5, 8, 8), torch.zeros(2))])
    assert {model.get_submodule(n).momentum for n in ("1", "5")} == {0.1}
    assert model.training
    reestimate(nn.Linear(2, 2), [])  # nothing to estimate
