"""The operators by our kernels (emulated): which is launched, with which arguments, on which tensors."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from secateur.core.errors import KernelError
from secateur.kernels import on_gpu, portable
from secateur.kernels.heads import HeadLayout
from secateur.kernels.variants import RAGGED_TILES, Launch
from tests.kernels.reference import attention, error_of
from tests.kernels.tensors import DTYPES, LAYOUT, TOLERANCE, extras, numpy, values


@pytest.mark.parametrize("dtype", DTYPES)
def test_ragged_attention_through_the_kernel(emulated_gpu: list[Launch], dtype: torch.dtype) -> None:
    qkv = values(2, 21, LAYOUT.row_width, dtype=dtype)
    given = extras(dtype, 2, 21)
    out = on_gpu.ragged_attention(qkv, LAYOUT, **given)
    expected = attention(qkv.double().numpy(), LAYOUT, **{name: numpy(x) for name, x in given.items()})
    assert error_of(out.double().numpy(), expected) < TOLERANCE[dtype]
    assert len(emulated_gpu) == 1


def test_a_view_is_copied_to_where_the_kernel_can_read_it(emulated_gpu: list[Launch]) -> None:
    """Every second token, and a row that begins 2 bytes after a multiple of 16."""
    qkv = values(1, 20, LAYOUT.row_width, dtype=torch.float16)
    shifted = torch.cat([torch.zeros(1, dtype=torch.float16), qkv[:, ::2].flatten()])[1:].view(1, 10, -1)
    assert shifted.data_ptr() % 16
    expected = attention(qkv[:, ::2].double().numpy(), LAYOUT)
    for given in (qkv[:, ::2], shifted):
        assert error_of(on_gpu.ragged_attention(given, LAYOUT).double().numpy(), expected) < TOLERANCE[torch.float16]


def test_types_without_a_kernel_are_refused_before_a_launch(emulated_gpu: list[Launch]) -> None:
    with pytest.raises(KernelError, match=r"a tensor of torch\.float64 was given"):
        on_gpu.bias_gelu(values(2, 8).double(), values(8).double())
    assert not emulated_gpu


def test_a_tile_by_name_is_taken_instead_of_the_usual_choice(emulated_gpu: list[Launch]) -> None:
    layout = HeadLayout((8, 16), (8, 8), 0.3)
    qkv = values(1, 20, layout.row_width, dtype=torch.float16)
    usual = on_gpu.ragged_attention(qkv, layout)
    for tile in RAGGED_TILES[:3]:
        found = on_gpu.ragged_attention(qkv, layout, tile=tile, parts=tile.parts[-1])
        assert error_of(found.double().numpy(), usual.double().numpy()) < TOLERANCE[torch.float16]
    endings = [launch.kernel.removeprefix("ragged_attention_fp16") for launch in emulated_gpu][1:]
    assert endings == ["_d64_short208", "_d64", "_d64_few"]
    assert [launch.grid[2] for launch in emulated_gpu][1:] == [4, 1, 1]


def test_a_bias_that_is_a_view_is_made_dense(emulated_gpu: list[Launch]) -> None:
    layout = HeadLayout((8, 16), (8, 8), 0.3)
    qkv, bias = values(1, 9, layout.row_width), values(9, 9, 2, seed=1).permute(2, 0, 1)
    assert not bias.is_contiguous()
    expected = attention(qkv.double().numpy(), layout, bias=bias.double().numpy())
    found = on_gpu.ragged_attention(qkv, layout, bias=bias)
    assert error_of(found.double().numpy(), expected) < TOLERANCE[torch.float32]


@pytest.mark.parametrize("shape", [(3, 8), (2, 3, 8), (1, 2, 3, 12)])
def test_rows_of_any_number_of_dimensions(emulated_gpu: list[Launch], shape: tuple[int, ...]) -> None:
    x, bias = values(*shape), values(shape[-1], seed=1)
    torch.testing.assert_close(on_gpu.bias_gelu(x, bias), torch.nn.functional.gelu(x + bias), atol=1e-6, rtol=1e-5)
    total, normed = on_gpu.residual_layernorm(x, x, None, bias, bias, 1e-3)
    torch.testing.assert_close(total, 2 * x)
    expected = torch.nn.functional.layer_norm(2 * x, shape[-1:], bias, bias, 1e-3)
    torch.testing.assert_close(normed, expected, atol=1e-5, rtol=1e-5)
    assert len(emulated_gpu) == 2


def arguments_of(name: str, rows: int) -> tuple[Any, ...]:
    """The arguments of an operator for so many sequences, maps or rows."""
    vector = values(8)
    return {
        "ragged_attention": (values(rows, 9, LAYOUT.row_width), LAYOUT),
        "window_attention": (values(rows, 3, 3, LAYOUT.row_width), LAYOUT, (3, 3), (0, 0)),
        "residual_layernorm": (values(rows, 8), values(rows, 8), None, vector, vector, 1e-3),
        "bias_gelu": (values(rows, 8), vector),
    }[name]


@pytest.mark.parametrize("name", ["ragged_attention", "window_attention", "residual_layernorm", "bias_gelu"])
def test_an_empty_batch_gives_an_empty_result_without_a_launch(emulated_gpu: list[Launch], name: str) -> None:
    """As on the CPU."""
    found, expected = (getattr(where, name)(*arguments_of(name, 0)) for where in (on_gpu, portable))
    pairs = zip(found, expected, strict=True) if isinstance(found, tuple) else [(found, expected)]
    assert all(a.shape == b.shape and a.dtype == b.dtype for a, b in pairs)
    assert not emulated_gpu


@pytest.mark.parametrize("name", ["ragged_attention", "window_attention", "residual_layernorm", "bias_gelu"])
def test_a_result_is_written_to_where_it_is_wanted(emulated_gpu: list[Launch], name: str) -> None:
    arguments = arguments_of(name, 2)
    expected = getattr(portable, name)(*arguments)
    if isinstance(expected, tuple):
        outs = tuple(torch.full_like(one, torch.nan) for one in expected)
        found = getattr(on_gpu, name)(*arguments, out=outs)
        assert [one.data_ptr() for one in found] == [one.data_ptr() for one in outs]
    else:
        out = torch.full_like(expected, torch.nan, memory_format=torch.contiguous_format)
        found = getattr(on_gpu, name)(*arguments, out=out)
        assert found.data_ptr() == out.data_ptr()
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("change", ["shape", "type", "strides"])
def test_an_output_that_a_kernel_would_not_fill_is_refused(emulated_gpu: list[Launch], change: str) -> None:
    x, vector = values(3, 8), values(8)
    out = {"shape": values(3, 7), "type": values(3, 8).half(), "strides": values(8, 3).T}[change]
    with pytest.raises(KernelError, match=r"an output of shape .* was given: it must be \[3, 8\] in torch.float32"):
        on_gpu.bias_gelu(x, vector, out)
    assert not emulated_gpu
