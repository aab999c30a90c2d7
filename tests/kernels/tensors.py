"""Seeded tensors for the operators, and how far each type may be from float64."""

from __future__ import annotations

import torch
from torch import Tensor

from secateur.kernels.heads import HeadLayout
from tests.kernels.reference import Array

LAYOUT = HeadLayout((16, 8, 16, 5), (8, 24, 8, 7), 0.3)
TOLERANCE = {torch.float32: 2e-6, torch.float16: 2e-3, torch.bfloat16: 2e-2}
DTYPES = list(TOLERANCE)


def values(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def numpy(x: Tensor | None) -> Array | None:
    return None if x is None else x.double().numpy()


def extras(dtype: torch.dtype, batch: int, tokens: int) -> dict[str, Tensor]:
    return {
        "qkv_bias": values(LAYOUT.row_width, seed=1, dtype=dtype),
        "bias": values(LAYOUT.heads, tokens, tokens, seed=2, dtype=dtype),
        "mask": values(2, tokens, tokens, seed=3, dtype=dtype),
    }
