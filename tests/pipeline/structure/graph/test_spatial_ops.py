"""Pixels: resampling keeps space and frees channels, shuffles and patches move channels."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.pipeline.structure.graph.following import of


@pytest.mark.parametrize(
    "function",
    [
        lambda p: F.avg_pool2d(p, 2),
        lambda p: F.max_pool2d(p, 2),
        lambda p: F.adaptive_avg_pool2d(p, 3),
        lambda p: F.interpolate(p, scale_factor=2.0, mode="bilinear"),
        lambda p: F.interpolate(p, size=(5, 5), mode="nearest"),
    ],
)
def test_resampling_keeps_space_and_frees_channels(function: Callable[[Tensor], Tensor]) -> None:
    found = of(lambda p, q, x: function(p[None, :, None, None] * q[None, None]), (3,), (6, 6))
    assert not found.reason("p0", 0)
    assert found.along(0, 1) == found.at("p0", 0)
    for dim in (0, 1):
        assert "resamples" in found.reason("p1", dim)


@pytest.mark.parametrize("layer", [nn.AdaptiveAvgPool3d(2), nn.MaxPool3d(2), nn.Upsample(scale_factor=2)])
def test_volumes_are_resampled_as_images_are(layer: nn.Module) -> None:
    found = of(lambda p, q, x: layer(p[None, :, None, None, None] * q[None, None]), (3,), (6, 6, 6))
    assert not found.reason("p0", 0) and found.along(0, 1) == found.at("p0", 0)
    assert all("resamples" in found.reason("p1", dim) for dim in range(3))


def test_shuffled_pixels_need_whole_blocks_of_channels() -> None:
    found = of(lambda p, x: F.pixel_shuffle(p[None, :, :, None].expand(1, 8, 3, 5), 2), (8, 3))
    channels = found.at("p0", 0)
    assert [channels[start : start + 4] for start in (0, 4)] == [[channels[0]] * 4, [channels[4]] * 4]
    assert channels[0] != channels[4]
    assert found.along(0, 1) == [channels[0], channels[4]]
    assert "pixels are shuffled" in found.reason("p0", 1)


def test_patches_take_all_taps_of_a_channel() -> None:
    def patches(p: Tensor, _x: Tensor) -> Tensor:
        return F.unfold(p[None, :, None, None].expand(1, 3, 4, 4), 2)

    found = of(patches, (3,))
    numbers = patches(torch.arange(3.0), torch.zeros(0))[0, :, 0].long()
    assert found.along(0, 1) == [found.at("p0", 0)[number] for number in numbers.tolist()]


def test_patches_that_are_put_back_are_channels_again() -> None:
    def put_back(p: Tensor, q: Tensor, _x: Tensor) -> Tensor:
        patches = F.unfold(p[None, :, None, None].expand(1, 3, 4, 4), 2) * q[None, :, None]
        return F.fold(patches, (4, 4), 2)

    found = of(put_back, (3,), (12,))
    channels = found.at("p0", 0)
    assert len(set(channels)) == 3
    assert found.at("p1", 0) == [channel for channel in channels for _tap in range(4)]
    assert found.along(0, 1) == channels
    of_places = of(lambda p, x: F.fold(p[None, None].expand(1, 4, 9), (4, 4), 2), (9,))
    assert "overlapping patches are summed along it" in of_places.reason("p0", 0)
