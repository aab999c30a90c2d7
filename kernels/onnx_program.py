"""Exported programs without PyTorch's own `secateur::` operators, as the ONNX exporter can translate them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from secateur.kernels import ops as ops  # registers what is lowered here
from secateur.kernels import portable
from secateur.kernels.heads import HeadLayout
from secateur.kernels.onnx_function import DOMAIN, NAME, VERSION


def lowered(program: ExportedProgram, keep_attention: bool) -> ExportedProgram:
    """The program with our operators written out in PyTorch's.

    With `keep_attention`, ragged attention becomes the ONNX node `secateur::RaggedAttention` instead; `add_functions`
    then gives it its body.
    """
    operators = torch.ops.secateur
    written_out = {
        operators.ragged_attention.default: _attention_node if keep_attention else _attention,
        operators.window_attention.default: _window_attention,
        operators.residual_layernorm.default: portable.residual_layernorm,
        operators.bias_gelu.default: portable.bias_gelu,
    }
    result: ExportedProgram = program.run_decompositions(written_out)
    return result


def _attention(
    qkv: Tensor, qk_dims: Sequence[int], v_dims: Sequence[int], scale: float, *extras: Tensor | None
) -> Tensor:
    return portable.ragged_attention(qkv, HeadLayout(tuple(qk_dims), tuple(v_dims), scale), *extras)


def _attention_node(
    qkv: Tensor, qk_dims: Sequence[int], v_dims: Sequence[int], scale: float, *extras: Tensor | None
) -> Tensor:
    shape = (*qkv.shape[:-1], sum(v_dims))
    attributes: dict[str, Any] = {"qk_dims": list(qk_dims), "v_dims": list(v_dims), "scale": scale}
    name = f"{DOMAIN}::{NAME}"
    return torch.onnx.ops.symbolic(name, (qkv, *extras), attributes, dtype=qkv.dtype, shape=shape, version=VERSION)


def _window_attention(
    qkv: Tensor,
    qk_dims: Sequence[int],
    v_dims: Sequence[int],
    scale: float,
    window: Sequence[int],
    shift: Sequence[int],
    *extras: Tensor | None,
) -> Tensor:
    layout = HeadLayout(tuple(qk_dims), tuple(v_dims), scale)
    return portable.window_attention(qkv, layout, (window[0], window[1]), (shift[0], shift[1]), *extras)
