"""residual_layernorm and bias_gelu, emulated, against float64."""

from __future__ import annotations

from collections.abc import Callable
from math import erf

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from secateur.kernels.variants import gelu_launch, layernorm_launch
from tests.kernels.reference import NUMPY, TOLERANCE, Array, drawn, error_of, poisoned

Run = Callable[..., list[Array]]
DTYPES = ["fp32", "fp16", "bf16"]


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    rows=st.integers(1, 9),
    width=st.one_of(st.integers(1, 80), st.integers(1, 40).map(lambda n: 8 * n)),
    branch=st.booleans(),
    scaled=st.booleans(),
    keep=st.booleans(),
    far=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_residual_layernorm(
    emulate: Run, dtype: str, rows: int, width: int, branch: bool, scaled: bool, keep: bool, far: bool, seed: int
) -> None:
    """Rows far from zero too, where a variance computed in one pass would cancel."""
    x = (drawn(seed, (rows, width), "fp32") + (100 if far and dtype == "fp32" else 0)).astype(NUMPY[dtype])
    y = drawn(seed + 1, (rows, width), dtype) if branch else None
    scale = drawn(seed + 2, (width,), dtype) if branch and scaled else None
    weight, bias = drawn(seed + 3, (width,), dtype), drawn(seed + 4, (width,), dtype)
    total = poisoned((rows, width), dtype) if keep else None
    arguments = [x, y, scale, weight, bias, rows, width, 1e-6, total, poisoned((rows, width), dtype)]
    arrays = emulate(layernorm_launch(dtype, rows, width), arguments)
    expected = x.astype(np.float64)
    if y is not None:
        expected = expected + y.astype(np.float64) * (1 if scale is None else scale.astype(np.float64))
    if keep:
        assert error_of(arrays[-2], expected) < TOLERANCE[dtype]
    off = expected - expected.mean(1, keepdims=True)
    # a row of one element, or of nearly equal ones, has no spread to normalise: its error is that of the mean
    normed = off / np.sqrt((off**2).mean(1, keepdims=True) + 1e-6) * weight.astype(np.float64) + bias.astype(np.float64)
    if width > 4:
        assert error_of(arrays[-1], normed) < (1e-4 if far and dtype == "fp32" else 2 * TOLERANCE[dtype])
    else:
        assert np.all(np.isfinite(arrays[-1].astype(np.float64)))


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    rows=st.integers(1, 9),
    width=st.one_of(st.integers(1, 70), st.integers(1, 40).map(lambda n: 8 * n)),
    multiprocessors=st.integers(1, 2),
    seed=st.integers(0, 2**31),
)
def test_bias_gelu(emulate: Run, dtype: str, rows: int, width: int, multiprocessors: int, seed: int) -> None:
    x, bias = drawn(seed, (rows, width), dtype), drawn(seed + 1, (width,), dtype)
    out = emulate(gelu_launch(dtype, rows, width, multiprocessors), [x, bias, rows, width, poisoned(x.shape, dtype)])[
        -1
    ]
    t = x.astype(np.float64) + bias.astype(np.float64)
    expected = t / 2 * (1 + np.vectorize(erf)(t / np.sqrt(2)))
    assert error_of(out, expected) < 2 * TOLERANCE[dtype]
