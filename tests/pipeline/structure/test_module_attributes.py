"""Attributes that repeat sizes are those of a module made small from the start."""

from __future__ import annotations

import pytest
from torch import nn

from secateur.pipeline.structure.module_attributes import drops_groups, resize, resize_norm, update, update_recurrent

PAIRS = {
    "linear": (nn.Linear(8, 6), nn.Linear(4, 3)),
    "bilinear": (nn.Bilinear(8, 6, 4), nn.Bilinear(5, 2, 3)),
    "convolution": (nn.Conv2d(8, 6, 3), nn.Conv2d(5, 2, 3)),
    "depthwise": (nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(3, 3, 3, groups=3)),
    "depthwise with a multiplier": (nn.Conv2d(8, 16, 3, groups=8), nn.Conv2d(3, 6, 3, groups=3)),
    "narrow groups": (nn.Conv2d(12, 24, 3, groups=6), nn.Conv2d(4, 8, 3, groups=2)),
    "wide groups": (nn.Conv2d(12, 24, 3, groups=2), nn.Conv2d(8, 6, 3, groups=2)),
    "a wide group": (nn.Conv2d(24, 24, 3, groups=3), nn.Conv2d(16, 6, 3, groups=2)),
    "transposed": (nn.ConvTranspose2d(8, 6, 2), nn.ConvTranspose2d(5, 2, 2)),
    "depthwise transposed": (nn.ConvTranspose2d(8, 8, 2, groups=8), nn.ConvTranspose2d(3, 3, 2, groups=3)),
    "one-dimensional": (nn.Conv1d(8, 6, 3), nn.Conv1d(5, 2, 3)),
    "batch norm": (nn.BatchNorm2d(8), nn.BatchNorm2d(3)),
    "layer norm": (nn.LayerNorm(8), nn.LayerNorm(3)),
    "group norm": (nn.GroupNorm(4, 8), nn.GroupNorm(3, 6)),
    "group norm over all": (nn.GroupNorm(1, 8), nn.GroupNorm(1, 3)),
}
SIZES = (
    *("in_features", "out_features", "in_channels", "out_channels", "groups", "num_features", "num_groups"),
    *("num_channels", "normalized_shape", "in1_features", "in2_features"),
)


@pytest.mark.parametrize("name", list(PAIRS))
def test_a_cut_module_says_of_itself_what_a_small_one_does(name: str) -> None:
    dense, small = PAIRS[name]
    shape = tuple(dense.get_parameter("weight").shape)
    for key, tensor in small.state_dict(keep_vars=True).items():
        if isinstance(tensor, nn.Parameter):
            setattr(dense, key, tensor)
    rows = range(shape[0]) if "wide" not in name else (0, 1, 3, 16, 17, 20)
    update(dense, shape, [*rows][: len(small.get_parameter("weight"))])
    assert {size: getattr(dense, size, None) for size in SIZES} == {size: getattr(small, size, None) for size in SIZES}


@pytest.mark.parametrize(
    ("dense", "small"),
    [
        (nn.LSTM(8, 6, 2, proj_size=4), nn.LSTM(5, 3, 2, proj_size=2)),
        (nn.GRU(8, 6, bidirectional=True), nn.GRU(5, 3, bidirectional=True)),
        (nn.RNN(8, 6, bias=False), nn.RNN(5, 3, bias=False)),
        (nn.GRUCell(8, 6), nn.GRUCell(5, 3)),
    ],
)
def test_a_cut_recurrent_layer_says_of_itself_what_a_small_one_does(dense: nn.RNNBase, small: nn.RNNBase) -> None:
    rows = len(next(dense.parameters()))
    for key, tensor in small.named_parameters():
        setattr(dense, key, tensor)
    update_recurrent(dense, rows)
    sizes = ("input_size", "hidden_size", "proj_size")
    assert {size: getattr(dense, size, None) for size in sizes} == {size: getattr(small, size, None) for size in sizes}


def test_groups_are_units_where_there_are_more_of_them_than_channels_in_each() -> None:
    assert drops_groups(8, 1)
    assert drops_groups(6, 2)
    assert not drops_groups(2, 2)
    assert not drops_groups(2, 6)
    assert not drops_groups(1, 0)


def test_only_widths_that_were_the_old_one_change() -> None:
    module = nn.Module()
    module.channels, module.num_features, module.normalized_shape = 8, 6, (3, 8)
    resize(module, 8, 5)
    assert (module.channels, module.num_features, module.normalized_shape) == (5, 6, (3, 5))


def test_a_module_that_normalises_has_one_width_whatever_its_name() -> None:
    norm = nn.Sequential(nn.LayerNorm(8))
    norm.d_model, norm.heads, norm.epsilon, norm.shape = 8, 4, 8e-6, (1, 8)
    resize_norm(norm, 8, 5)
    assert (norm.d_model, norm.heads, norm.epsilon, norm.shape) == (5, 4, 8e-6, (1, 5))
    assert norm[0].normalized_shape == (5,)
