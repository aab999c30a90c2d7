"""The plugin ahead of time: what TensorRT is told, through its own Python sources."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from secateur.kernels.heads import HeadLayout
from secateur.kernels.layer_image import layer_defines, layer_kernel, layer_tiles
from secateur.kernels.trt_aot import has_ahead_of_time_plugins
from secateur.kernels.trt_plugin import register_plugin
from tests.kernels.fake_trt_plugin import DataType, TensorDesc, make_modules

LAYOUT = HeadLayout((16, 8), (8, 24), 0.5)
PTX = b".version 8.0"
TYPES = {"fp32": DataType.FLOAT, "fp16": DataType.HALF, "bf16": DataType.BF16}


@pytest.mark.parametrize("capability", [75, 87])
def test_ahead_of_time(monkeypatch: pytest.MonkeyPatch, capability: int) -> None:
    """What TensorRT is told: the shape, the tactics, and for each tactic the kernel, its grid and its argument."""
    trt, plugin, registry = make_modules()
    monkeypatch.setitem(sys.modules, "tensorrt.plugin", plugin)
    made: list[tuple[HeadLayout, str, str]] = []
    monkeypatch.setattr(
        "secateur.kernels.layer_image.compile_kernel",
        lambda *a: made.append(a) or type("Compiled", (), {"image": PTX}),
    )
    monkeypatch.setattr("secateur.kernels.trt_aot.device_capability", lambda: capability)
    assert register_plugin(trt) == "ahead of time"
    assert register_plugin(trt) == "ahead of time"  # a second time changes nothing
    functions = registry.plugins["secateur::RaggedAttention"]
    heads = {"qk_dims": np.array([16, 8], np.int32), "v_dims": np.array([8, 24], np.int32)}
    heads["scale"] = np.array([0.5], np.float32)
    for dtype, kind in TYPES.items():
        qkv = TensorDesc((3, 37, LAYOUT.row_width), kind)
        out = functions["register"](qkv, **heads)
        assert (out.shape_expr, out.dtype) == ((3, 37, 32), kind)
        (combination,) = functions["autotune"](qkv, *heads.values(), (out,))
        tiles = layer_tiles(LAYOUT, dtype, capability)
        assert combination.types == f"{dtype.upper()}, {dtype.upper()}"
        assert combination.tactics == [n + 1 for n in range(len(tiles))]
        for tactic, tile in zip(combination.tactics, tiles, strict=True):
            name, ptx, params, extra = functions["aot_impl"](qkv, *heads.values(), (out,), tactic)
            defines = layer_defines(LAYOUT, dtype, tile)
            assert (name, ptx, extra.values) == (layer_kernel(defines), PTX, [37])
            assert (params.grid_x, params.grid_y, params.grid_z) == (3 * -(-37 // tile.rows), 2, 1)
            assert (params.block_x, params.block_y, params.shared_mem) == (128, 1, tile.shared_bytes)
            assert made[-1] == (
                "ragged_attention_plugin", 80 if dtype != "fp32" and capability >= 80 else 75, "ptx",
                (f"SECATEUR_KERNEL={name}", *defines),
            )  # fmt: skip


@pytest.mark.parametrize("there", [True, False])
def test_a_tensorrt_that_can_is_told_from_one_that_cannot(there: bool) -> None:
    assert has_ahead_of_time_plugins(make_modules(there)[0]) is there
