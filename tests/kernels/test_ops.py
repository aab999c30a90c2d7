"""The operators of PyTorch: portable against float64, our kernels (emulated) through the whole CUDA path, tracing."""

from __future__ import annotations

from math import erf

import numpy as np
import pytest
import torch

from secateur.core.errors import KernelError
from secateur.kernels import on_gpu, ops
from secateur.kernels.heads import HeadLayout
from secateur.kernels.variants import Launch
from tests.kernels.reference import attention, error_of, window_attention
from tests.kernels.tensors import DTYPES, LAYOUT, TOLERANCE, extras, numpy, values


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("chosen", [(), ("qkv_bias",), ("bias",), ("mask",), ("qkv_bias", "bias", "mask")])
def test_ragged_attention_on_the_cpu(dtype: torch.dtype, chosen: tuple[str, ...]) -> None:
    qkv = values(4, 9, LAYOUT.row_width, dtype=dtype)
    given = {name: tensor for name, tensor in extras(dtype, 4, 9).items() if name in chosen}
    out = torch.ops.secateur.ragged_attention(qkv, LAYOUT.qk_dims, LAYOUT.v_dims, LAYOUT.scale, **given)
    expected = attention(qkv.double().numpy(), LAYOUT, **{name: numpy(x) for name, x in given.items()})
    assert out.dtype == dtype
    assert error_of(out.double().numpy(), expected) < 2 * TOLERANCE[dtype]


@pytest.mark.parametrize("where", ["cpu", "kernel"])
@pytest.mark.parametrize("shift", [(0, 0), (1, 2), (0, 1)])
def test_window_attention(emulated_gpu: list[Launch], where: str, shift: tuple[int, int]) -> None:
    layout, window = HeadLayout((8, 16), (8, 3), 0.4), (2, 3)
    qkv = values(2, 4, 6, layout.row_width, dtype=torch.float16)
    bias = values(2, 6, 6, seed=1, dtype=torch.float16)
    if where == "cpu":
        out = torch.ops.secateur.window_attention(
            qkv, layout.qk_dims, layout.v_dims, layout.scale, window, shift, bias=bias
        )
    else:
        out = on_gpu.window_attention(qkv, layout, window, shift, bias=bias)
    expected = window_attention(qkv.double().numpy(), layout, window, shift, bias.double().numpy())
    assert error_of(out.double().numpy(), expected) < 2 * TOLERANCE[torch.float16]
    assert len(emulated_gpu) == (where == "kernel")


@pytest.mark.parametrize("where", ["cpu", "kernel"])
def test_window_attention_with_a_bias_of_the_projection(emulated_gpu: list[Launch], where: str) -> None:
    layout = HeadLayout((8, 16), (8, 3), 0.4)
    qkv, add = values(1, 4, 4, layout.row_width), values(layout.row_width, seed=1)
    if where == "cpu":
        out = ops.window_attention(qkv, layout.qk_dims, layout.v_dims, 0.4, [4, 4], [0, 0], add)
    else:
        out = on_gpu.window_attention(qkv, layout, (4, 4), (0, 0), add)
    tokens = qkv.double().numpy().reshape(1, 16, -1)
    expected = attention(tokens, layout, add.double().numpy())
    assert error_of(out.double().numpy().reshape(1, 16, -1), expected) < 2e-6


@pytest.mark.parametrize("where", [ops, on_gpu], ids=["cpu", "kernel"])
@pytest.mark.parametrize("scaled", [False, True])
def test_residual_layernorm(emulated_gpu: list[Launch], where: object, scaled: bool) -> None:
    x, branch = values(2, 3, 20), values(2, 3, 20, seed=1)
    scale = values(20, seed=2) if scaled else None
    weight, bias = values(20, seed=3), values(20, seed=4)
    total, normed = where.residual_layernorm(x, branch, scale, weight, bias, 1e-3)  # type: ignore[attr-defined]  # both
    expected = x.double() + branch.double() * (1 if scale is None else scale.double())
    off = expected - expected.mean(-1, keepdim=True)
    expected_normed = off / (off.square().mean(-1, keepdim=True) + 1e-3).sqrt() * weight + bias
    assert error_of(total.numpy(), expected.numpy()) < 1e-6
    assert error_of(normed.numpy(), expected_normed.numpy()) < 1e-6


@pytest.mark.parametrize("where", [ops, on_gpu], ids=["cpu", "kernel"])
def test_bias_gelu(emulated_gpu: list[Launch], where: object) -> None:
    x, bias = values(3, 5, 12), values(12, seed=1)
    t = (x.double() + bias.double()).numpy()
    expected = t / 2 * (1 + np.vectorize(erf)(t / np.sqrt(2)))
    assert error_of(where.bias_gelu(x, bias).numpy(), expected) < 1e-6  # type: ignore[attr-defined]  # both have it


def test_the_operators_keep_the_rules_of_torch_library() -> None:
    """Schema, fake kernel (static and dynamic shapes) and no hidden change of an input."""
    heads = (LAYOUT.qk_dims, LAYOUT.v_dims, LAYOUT.scale)
    x, vector = values(2, 5, 8), values(8)
    kinds = ("test_schema", "test_faketensor", "test_aot_dispatch_dynamic")
    for op, arguments in (
        (ops.ragged_attention, (values(2, 9, LAYOUT.row_width), *heads)),
        (ops.window_attention, (values(1, 4, 6, LAYOUT.row_width), *heads, [2, 3], [1, 1])),
        (ops.residual_layernorm, (x, x + 1, None, vector, vector, 1e-6)),
        (ops.bias_gelu, (x, vector)),
    ):
        torch.library.opcheck(op, arguments, test_utils=kinds)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"qkv": values(2, 9, 50)}, r"\[2, 9, 50\] was given.*needs 3 dimensions, the last of 137"),
        ({"qkv_bias": values(5)}, r"qkv_bias has the shape \[5\].*must be \[137\] in torch.float32 on cpu"),
        ({"bias": values(2, 9, 9)}, r"bias has the shape \[2, 9, 9\].*\[1, 9, 9\] or \[4, 9, 9\]"),
        ({"mask": values(3, 9, 8)}, r"mask has the shape \[3, 9, 8\].*\[3, 9, 9\]"),
        ({"mask": values(0, 9, 9)}, r"mask has the shape \[0, 9, 9\].*it must be \[1, 9, 9\]"),
        ({"mask": values(3, 9, 9).half()}, r"in torch.float16 on cpu: it must be \[3, 9, 9\] in torch.float32"),
        ({"qk_dims": [300, 8, 16, 5]}, "a head has the width 300"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, object], message: str) -> None:
    given: dict[str, object] = {
        "qkv": values(2, 9, LAYOUT.row_width),
        "qk_dims": LAYOUT.qk_dims,
        "v_dims": LAYOUT.v_dims,
    }
    with pytest.raises(KernelError, match=message):
        torch.ops.secateur.ragged_attention(**{**given, "scale": 1.0, **change})


@pytest.mark.parametrize(
    ("window", "shift", "message"),
    [
        ([2, 4], [0, 0], "a feature map of 4 x 6 was given with windows of 2 x 4"),
        ([2, 3], [2, 0], "a shift is at least 0 and less than its window"),
        ([2, 3], [-1, 0], "a shift is at least 0"),
        ([2], [0, 0], "both are"),
    ],
)
def test_windows_that_do_not_fit_are_refused(window: list[int], shift: list[int], message: str) -> None:
    with pytest.raises(KernelError, match=message):
        ops.window_attention(values(1, 4, 6, LAYOUT.row_width), LAYOUT.qk_dims, LAYOUT.v_dims, 1.0, window, shift)
