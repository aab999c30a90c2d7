"""The operators by our kernels (emulated): which is launched, with which arguments, on which tensors."""

from __future__ import annotations

import pytest
import torch

from secateur.core.errors import KernelError
from secateur.kernels import on_gpu
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
    for tile in RAGGED_TILES[:2]:
        found = on_gpu.ragged_attention(qkv, layout, tile=tile)
        assert error_of(found.double().numpy(), usual.double().numpy()) < TOLERANCE[torch.float16]
    assert [launch.kernel.removeprefix("ragged_attention_fp16") for launch in emulated_gpu][1:] == ["_d64", "_d64_few"]


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
