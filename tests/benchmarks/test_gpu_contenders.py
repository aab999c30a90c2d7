"""Our kernels and the library's, on the CPU: the same sizes, and the same numbers where they take the same input."""

from __future__ import annotations

import torch

from secateur.benchmarks.gpu_contenders import contenders
from secateur.benchmarks.gpu_problems import Problem
from secateur.kernels.heads import HeadLayout


def test_every_contender_computes_the_same_shape() -> None:
    """On the CPU, where the library's choice stands in for its CUDA kernels."""
    layout = HeadLayout((8, 16), (24, 8), 0.3)
    found = {one.name: one for one in contenders(Problem("small", "ragged_attention", "fp32", 2, 5, layout), "cpu")}
    assert list(found) == [
        "ours", "padded, flash", "padded, cudnn", "padded, efficient", "grouped by width", "head by head"
    ]  # fmt: skip
    (qkv,) = found["ours"].make()
    expected = found["ours"].call(qkv)
    for name in ("grouped by width", "head by head"):
        torch.testing.assert_close(found[name].call(qkv), expected)
    assert [tensor.shape for tensor in found["padded, flash"].make()] == [(2, 2, 5, 16), (2, 2, 5, 16), (2, 2, 5, 24)]
    for kernel in ("bias_gelu", "residual_layernorm"):
        ours, eager = contenders(Problem("row", kernel, "fp32", 2, 3, None, 8), "cpu")
        made = ours.make()
        torch.testing.assert_close(ours.call(*made), eager.call(*made))
