"""The plugin for TensorRT 10.9 and newer, ahead of time: PTX in the engine, no Python when it runs."""

from __future__ import annotations

import importlib
from types import GenericAlias, ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from secateur.kernels.driver import device_capability
from secateur.kernels.heads import HeadLayout
from secateur.kernels.layer_image import layer_image, layer_tiles
from secateur.kernels.onnx_function import DOMAIN, NAME
from secateur.kernels.trt_features import has

PLUGIN_ID = f"{DOMAIN}::{NAME}"


def has_ahead_of_time_plugins(trt: ModuleType) -> bool:
    """Whether this TensorRT can put PTX into an engine."""
    return has(trt, "ahead-of-time plugins")


def register_ahead_of_time(trt: ModuleType) -> None:
    """Registers the plugin's shapes, tactics and PTX with `tensorrt.plugin`.

    TensorRT times each tile of `layer_tiles` as a tactic. The kernel's arguments are, in the order that such plugins
    pass them, the input, the number of tokens and the output.
    """
    trtp = importlib.import_module(f"{trt.__name__}.plugin")
    words = {trt.float32: "fp32", trt.float16: "fp16", trt.bfloat16: "bf16"}
    # an array of one element for the scale: TensorRT 10.13 reads a plain float in a way that NumPy 2.4 refuses
    attributes = {"qk_dims": npt.NDArray[np.int32], "v_dims": npt.NDArray[np.int32], "scale": npt.NDArray[np.float32]}

    def describe(qkv: Any, qk_dims: Any, v_dims: Any, scale: Any) -> Any:
        batch, tokens = qkv.shape_expr[0], qkv.shape_expr[1]
        return trtp.from_shape_expr((batch, tokens, int(np.sum(v_dims))), qkv.dtype)

    def autotune(qkv: Any, qk_dims: Any, v_dims: Any, scale: Any, outputs: Any) -> Any:
        word = words[qkv.dtype]
        tiles = layer_tiles(_layout(qk_dims, v_dims, scale), word, device_capability())
        tactics = list(range(1, 1 + len(tiles)))
        return [trtp.AutoTuneCombination(f"{word.upper()}, {word.upper()}", "LINEAR", tactics)]

    def implement(qkv: Any, qk_dims: Any, v_dims: Any, scale: Any, outputs: Any, tactic: Any) -> Any:
        layout, word = _layout(qk_dims, v_dims, scale), words[qkv.dtype]
        image = layer_image(layout, word, layer_tiles(layout, word, device_capability())[tactic - 1])
        batch, tokens = qkv.shape_expr[0], qkv.shape_expr[1]
        params = trtp.KernelLaunchParams()
        params.grid_x = batch * trtp.cdiv(tokens, image.rows)
        params.grid_y = image.heads
        params.block_x = image.threads
        params.shared_mem = image.shared_bytes
        extra = trtp.SymIntExprs(1)
        extra[0] = trtp.SymInt32(tokens)
        return image.kernel, image.ptx, params, extra

    # TensorRT reads the annotations as objects, and those of this module are strings
    describe.__annotations__ = {"qkv": trtp.TensorDesc, **attributes, "return": trtp.TensorDesc}
    autotune.__annotations__ = {}
    returned = GenericAlias(tuple, (str, bytes, trtp.KernelLaunchParams, trtp.SymExprs))
    implement.__annotations__ = {"return": returned}
    trtp.register(PLUGIN_ID)(describe)
    trtp.autotune(PLUGIN_ID)(autotune)
    trtp.aot_impl(PLUGIN_ID)(implement)


def _layout(qk_dims: Any, v_dims: Any, scale: Any) -> HeadLayout:
    return HeadLayout(tuple(int(n) for n in qk_dims), tuple(int(n) for n in v_dims), float(np.ravel(scale)[0]))
