"""Our kernels and what PyTorch offers in their place, as functions of buffers of the same sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from secateur.benchmarks.gpu_checks import DTYPES
from secateur.benchmarks.gpu_problems import Problem
from secateur.kernels import ops, portable
from secateur.kernels.heads import HeadLayout

BACKENDS = {
    "flash": (SDPBackend.FLASH_ATTENTION, "can_use_flash_attention"),
    "cudnn": (SDPBackend.CUDNN_ATTENTION, "can_use_cudnn_attention"),
    "efficient": (SDPBackend.EFFICIENT_ATTENTION, "can_use_efficient_attention"),
}


@dataclass(frozen=True)
class Contender:
    """One way to compute a problem: `call` on buffers that `make` makes; `refuse` says why not, or nothing."""

    name: str
    make: Callable[[], tuple[Tensor, ...]]
    call: Callable[..., object]
    refuse: Callable[[], str] = str


def contenders(problem: Problem, device: str = "cuda") -> Iterator[Contender]:
    """Ours first, then the library's: padded to the widest head, grouped by width, head by head; or eager PyTorch."""
    dtype = DTYPES[problem.dtype]

    def randn(*shape: int) -> Tensor:
        return torch.randn(shape, device=device).to(dtype)

    if problem.layout is not None:
        yield from _attention(problem, problem.layout, randn)
        return
    width, rows = problem.width, problem.rows * problem.tokens
    if problem.kernel == "bias_gelu":
        yield Contender("ours", lambda: (randn(rows, width), randn(width)), ops.bias_gelu)
        yield Contender("eager", lambda: (randn(rows, width), randn(width)), portable.bias_gelu)
        return

    def make() -> tuple[Tensor, ...]:
        return randn(rows, width), randn(rows, width), randn(width), randn(width)

    yield Contender("ours", make, lambda x, y, w, b: ops.residual_layernorm(x, y, None, w, b, 1e-6))
    yield Contender("eager", make, lambda x, y, w, b: portable.residual_layernorm(x, y, None, w, b, 1e-6))


def _attention(problem: Problem, layout: HeadLayout, randn: Callable[..., Tensor]) -> Iterator[Contender]:
    heads = layout.qk_dims, layout.v_dims, layout.scale

    def packed() -> tuple[Tensor, ...]:
        return (randn(problem.rows, problem.tokens, layout.row_width),)

    yield Contender("ours", packed, lambda qkv: ops.ragged_attention(qkv, *heads))
    widest = max(layout.qk_dims), max(layout.qk_dims), max(layout.v_dims)

    def padded() -> tuple[Tensor, ...]:
        shape = (problem.rows, problem.tokens, layout.heads)
        return tuple(randn(*shape, width).transpose(1, 2) for width in widest)

    for name, (backend, question) in BACKENDS.items():
        refuse = partial(_refusal, name, question, padded)
        yield Contender(f"padded, {name}", padded, _library(backend, layout.scale), refuse)
    yield Contender("grouped by width", packed, lambda qkv: portable.ragged_attention(qkv, layout))
    yield Contender("head by head", packed, lambda qkv: _head_by_head(qkv, layout))


def _refusal(name: str, question: str, make: Callable[[], tuple[Tensor, ...]]) -> str:
    """Why a backend does not take the buffers; empty where it does, and on the CPU."""
    q, k, v = make()
    params = torch.backends.cuda.SDPAParams(q, k, v, None, 0.0, False, False)
    usable = not q.is_cuda or getattr(torch.backends.cuda, question)(params)
    return "" if usable else f"PyTorch has no {name} kernel for it"


def _library(backend: SDPBackend, scale: float) -> Callable[..., Tensor]:
    def call(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        with sdpa_kernel(backend):
            return F.scaled_dot_product_attention(q, k, v, scale=scale)

    return call


def _head_by_head(qkv: Tensor, layout: HeadLayout) -> Tensor:
    """The heads one after the other, each by the library's own choice."""
    parts = []
    for qk, v, (q_at, k_at, v_at, _) in zip(layout.qk_dims, layout.v_dims, layout.offsets, strict=True):
        q, k = (qkv[:, None, :, at : at + qk] for at in (q_at, k_at))
        parts.append(F.scaled_dot_product_attention(q, k, qkv[:, None, :, v_at : v_at + v], scale=layout.scale)[:, 0])
    return torch.cat(parts, dim=-1)
