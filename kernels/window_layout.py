"""The heads of a Swin block's attention, read from timm's module or from the code that pruning leaves in its place."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from timm.models.swin_transformer import WindowAttention
from torch import Tensor, fx, nn

from secateur.core.errors import KernelError
from secateur.kernels.heads import HeadLayout
from secateur.kernels.variants import WINDOW_TILES

WIDEST = max(tile.widest for tile in WINDOW_TILES)


def window_layout(attention: nn.Module) -> HeadLayout:
    """The heads of an attention with a relative position bias, all of one width.

    How many there are is how many columns the table of biases has, and the projections say how wide. Raises
    `KernelError` for a module that has no such parts, or whose heads the kernel does not take.
    """
    table, index = (getattr(attention, f"relative_position_{part}", None) for part in ("bias_table", "index"))
    qkv, proj = getattr(attention, "qkv", None), getattr(attention, "proj", None)
    if not (isinstance(table, Tensor) and isinstance(index, Tensor)):
        raise KernelError(f"its attention is a {type(attention).__name__} without a table of relative position biases")
    if not (isinstance(qkv, nn.Linear) and isinstance(proj, nn.Linear)):
        raise KernelError("its attention has no linear projections `qkv` and `proj`")
    heads = table.shape[-1]
    v, apart = divmod(proj.in_features, heads)
    qk, rest = divmod(qkv.out_features - proj.in_features, 2 * heads)
    if apart or rest:
        raise KernelError(f"its {heads} heads are of different widths")
    if max(qk, v) > WIDEST:
        raise KernelError(f"its heads are {max(qk, v)} wide, and the kernel takes at most {WIDEST}")
    return HeadLayout((qk,) * heads, (v,) * heads, _scale(attention, qk))


def _scale(attention: nn.Module, width: int) -> float:
    """What the logits are multiplied by; the library's attention takes it from the width where nothing says it."""
    graph = getattr(attention, "written_graph", None)  # the code that pruning leaves in the module's place
    if graph is None and isinstance(attention, WindowAttention):
        return width**-0.5 if attention.fused_attn else float(attention.scale)
    if not isinstance(graph, fx.Graph):
        raise KernelError(f"its attention is a {type(attention).__name__}, whose scale is not known")
    found = set(_scales(graph, width))
    if len(found) != 1:
        raise KernelError(f"the code of its attention has {len(found)} scales")
    return found.pop()


def _scales(graph: fx.Graph, width: int) -> Iterator[float]:
    aten = torch.ops.aten
    for node in graph.nodes:
        if node.target is aten.scaled_dot_product_attention.default:
            yield float(node.kwargs.get("scale") or width**-0.5)
        elif node.target is aten.mul.Tensor and isinstance(node.args[1], float):
            yield node.args[1]
