"""Attention of any rank as attention of four dimensions, the only one that PyTorch's ONNX exporter translates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

ATTENTION = (F.scaled_dot_product_attention, torch.ops.aten.scaled_dot_product_attention.default)


class FourDimensions(TorchFunctionMode):
    """Within it, attention over `[..., H, N, D]` runs over `[B, H, N, D]`: earlier dimensions are one, or are added."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func not in ATTENTION or len(args) < 3 or args[0].ndim in (2, 4):
            return func(*args, **kwargs)
        query, key, value, *rest = args
        outer = query.shape[:-3]
        mask = rest[0] if rest else kwargs.get("attn_mask")
        if isinstance(mask, Tensor) and mask.ndim > 2:
            mask = mask.expand(*outer, *mask.shape[-3:]).reshape(-1, *mask.shape[-3:])
        if rest:
            rest[0] = mask
        elif "attn_mask" in kwargs:
            kwargs = {**kwargs, "attn_mask": mask}
        result = func(*(part.reshape(-1, *part.shape[-3:]) for part in (query, key, value)), *rest, **kwargs)
        return result.reshape(*outer, *result.shape[-3:])
