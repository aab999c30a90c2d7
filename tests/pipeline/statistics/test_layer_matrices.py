"""Layers as matrices: for every way to pad, rows times the matrix are what the layer itself computes."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers import Conv2dSame
from timm.layers.std_conv import ScaledStdConv2d, ScaledStdConv2dSame, StdConv2d, StdConv2dSame
from torch import Tensor, nn

from secateur.pipeline.statistics.layer_matrices import (
    MOST_POSITIONS,
    Reader,
    channel_dim,
    input_rows,
    matrices_in,
    matrix,
    output_rows,
    readers_of,
    spread,
)
from secateur.pipeline.structure.canonical import canonical
from secateur.pipeline.structure.groups import Groups


@torch.no_grad()
def check(layer: nn.Module, x: Tensor) -> None:
    """Compares rows times the matrix with the layer's own output, position by position."""
    layer, x = layer.double().eval(), x.double()
    parts = matrices_in(layer)
    assert parts > 0
    rows, wanted = input_rows(layer, x), output_rows(layer, layer(x))
    pairs = zip(rows.chunk(parts, -1), matrix(layer).chunk(parts), strict=True)
    found = torch.cat([part @ weight.T for part, weight in pairs], -1)
    bias = layer.bias
    torch.testing.assert_close(found if bias is None else found + bias, wanted)


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[nn.Module, tuple[int, int]]:
    """A convolution of any geometry, and an image size that it can read."""
    kernel = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    dilation = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    groups = draw(st.sampled_from([1, 2, 4]))
    geometry: dict[str, Any] = {"dilation": dilation, "groups": groups, "bias": draw(st.booleans())}
    kind = draw(st.sampled_from(["same", "valid", "numbers", "timm", "computed"]))
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3))) if kind != "same" else 1
    size = draw(st.tuples(st.integers(13, 17), st.integers(13, 17)))  # the largest kernel reaches over 13 pixels
    if kind == "timm":
        return Conv2dSame(4, 8, kernel, stride, **geometry), size
    if kind == "computed":  # padded by the mode below, by half of the kernel
        geometry |= {"padding": tuple(d * (k // 2) for d, k in zip(dilation, kernel, strict=True))}
    elif kind == "numbers":
        geometry |= {"padding": draw(st.tuples(st.integers(0, 4), st.integers(0, 4)))}
    else:
        geometry |= {"padding": kind}
    mode = draw(st.sampled_from(["zeros", "reflect", "replicate", "circular"]))
    return nn.Conv2d(4, 8, kernel, stride, padding_mode=mode, **geometry), size


@settings(max_examples=60, deadline=None)
@given(convolutions(), st.integers(0, 999))
def test_rows_times_the_matrix_are_the_convolution(made: tuple[nn.Module, tuple[int, int]], seed: int) -> None:
    layer, size = made
    check(layer, torch.randn(2, 4, *size, generator=torch.Generator().manual_seed(seed)))


@pytest.mark.parametrize("shape", [(2, 5), (2, 7, 5), (2, 3, 4, 5)])
def test_rows_times_the_matrix_are_the_linear_layer(shape: tuple[int, ...]) -> None:
    check(nn.Linear(5, 3), torch.randn(shape))
    check(nn.MultiheadAttention(5, 1).out_proj, torch.randn(shape))


@pytest.mark.parametrize("kind", [StdConv2d, ScaledStdConv2d, StdConv2dSame, ScaledStdConv2dSame])
def test_a_convolution_that_computes_its_weight_is_no_matrix_until_it_is_made_canonical(kind: type[nn.Conv2d]) -> None:
    layer = kind(4, 6, 3, stride=2)
    nn.init.normal_(layer.weight)
    assert matrices_in(layer) == 0
    plain = canonical(nn.Sequential(layer).eval())[0]  # type: ignore[index]  # a module like the one that goes in
    x = torch.randn(2, 4, 7, 8)
    with torch.no_grad():
        torch.testing.assert_close(plain(x), layer(x))
    check(plain, x)


def test_a_layer_that_does_more_than_multiply_is_no_matrix() -> None:
    class Doubled(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    assert matrices_in(Doubled(4, 4)) == 0
    assert [matrices_in(layer) for layer in (nn.ReLU(), nn.ConvTranspose2d(3, 3, 2), nn.Conv1d(3, 3, 2))] == [0, 0, 0]


@pytest.mark.parametrize("name", ["tf_efficientnet_b0", "tf_mixnet_s", "resnetv2_50", "nf_regnet_b0", "levit_128s"])
def test_all_matrices_of_a_timm_model_are_its_layers(name: str) -> None:
    """Whatever its layers are made of: each is its matrix on what it reads in the model."""
    torch.manual_seed(0)
    model = canonical(timm.create_model(name, num_classes=3).eval())
    size = 224 if "levit" in name else 65
    seen: dict[str, tuple[Tensor, Tensor]] = {}
    layers = [(key, module) for key, module in model.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    for key, module in layers:
        module.register_forward_hook(lambda _m, args, out, key=key: seen.update({key: (args[0], out.clone())}))
    with torch.no_grad():
        model(torch.randn(1, 3, size, size))
    assert len(seen) > 20
    for key, module in layers:
        if (parts := matrices_in(module)) and key in seen:
            x, y = seen[key]
            pairs = zip(input_rows(module, x).double().chunk(parts, -1), matrix(module).chunk(parts), strict=True)
            found = torch.cat([rows @ weight.T for rows, weight in pairs], -1)
            found = found if module.bias is None else found + module.bias.detach()
            wanted = output_rows(module, y).double()
            assert (found - wanted).abs().max() <= 1e-4 * wanted.abs().max(), key


def test_positions_are_spread_evenly_and_hold_the_first_one() -> None:
    assert spread(5, torch.device("cpu")).tolist() == [0, 1, 2, 3, 4]
    many = spread(1000, torch.device("cpu"))
    assert len(many) == len(set(many.tolist())) == MOST_POSITIONS
    assert (many[0], many[-1]) == (0, 999)
    steps = many.diff()
    assert steps.min() >= 3 and steps.max() <= 4
    x = torch.randn(1, 1000, 2)
    assert torch.equal(input_rows(nn.Linear(2, 2), x), x[:, many])
    assert torch.equal(output_rows(nn.Linear(2, 2), x), x[:, many])


def test_the_readers_of_a_group_name_the_unit_of_each_column(vit: nn.Module, vit_groups: Groups) -> None:
    assert readers_of(vit, vit_groups.named("blocks.0.mlp.hidden")) == (Reader("blocks.0.mlp.fc2", tuple(range(192))),)
    (proj,) = readers_of(vit, vit_groups.named("blocks.1.attn.heads"))
    assert proj == Reader("blocks.1.attn.proj", tuple(head for head in range(3) for _ in range(16)))
    assert readers_of(vit, vit_groups.named("blocks.1.attn.qk")) == ()
    assert channel_dim(nn.Linear(1, 1)) == -1
    assert channel_dim(nn.Conv2d(1, 1, 1)) == 1
