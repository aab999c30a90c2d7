"""The TensorRT plugin, as far as it can be run without a GPU: both kinds, their kernels (emulated), their graphs."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

import secateur as sc
from secateur.core.errors import KernelError
from secateur.export import trt_build
from secateur.export.to_onnx import OnnxInfo
from secateur.kernels import launch as launching
from secateur.kernels import trt_plugin
from secateur.kernels.compile import find_nvcc
from secateur.kernels.heads import HeadLayout
from secateur.kernels.launch import DeviceLimits
from secateur.kernels.layer_image import KERNEL, layer_defines, layer_image, layer_tiles
from secateur.kernels.onnx_function import without_functions
from secateur.kernels.trt_plugin import needs_plugin, register_plugin
from secateur.kernels.trt_v3 import make_creator
from secateur.kernels.variants import Launch, Tile
from tests.kernels.conftest import Emulator, Variant, compile_variants
from tests.kernels.fake_trt_plugin import DataType, TensorDesc, make_modules
from tests.kernels.reference import TOLERANCE, attention, drawn, error_of, poisoned

LAYOUT = HeadLayout((16, 8), (8, 24), 0.5)
WIDE = HeadLayout((72, 8), (16, 100), 0.5)
TYPES = {"fp32": DataType.FLOAT, "fp16": DataType.HALF, "bf16": DataType.BF16}
CASES = [
    (layout, dtype, tile)
    for layout, dtypes in ((LAYOUT, ("fp32", "fp16")), (WIDE, ("bf16",)))
    for dtype in dtypes
    for tile in layer_tiles(layout, dtype)
]


@pytest.fixture(scope="module")
def layers(need_gpp: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """The kernels of all cases, each as the very source that the engine carries with the heads as macros."""
    variants = [
        Variant(f"{KERNEL}_{dtype}{tile.suffix}", KERNEL, KERNEL, layer_defines(layout, dtype, tile))
        for layout, dtype, tile in CASES
    ]
    emulator = Emulator(compile_variants(variants, tmp_path_factory.mktemp("layers")))
    yield emulator
    emulator.close()


@pytest.mark.parametrize(("layout", "dtype", "tile"), CASES, ids=[f"{d}{t.suffix}" for _, d, t in CASES])
def test_the_kernel_of_one_layer(layers: Emulator, layout: HeadLayout, dtype: str, tile: Tile) -> None:
    """Thread by thread, against float64."""
    qkv = drawn(0, (2, 37, layout.row_width), dtype)
    grid = (2 * -(-37 // tile.rows), layout.heads, 1)
    launch = Launch("plugin", f"{KERNEL}_{dtype}{tile.suffix}", grid, (128, 1, 1), tile.shared_bytes)
    out = layers.run(launch, [qkv, 37, poisoned((2, 37, layout.out_width), dtype)])[-1]
    assert error_of(out, attention(qkv, layout)) < TOLERANCE[dtype]


@pytest.mark.skipif(find_nvcc() is None, reason="nvcc is not on this machine")
def test_the_image_is_ptx_with_one_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECATEUR_KERNEL_CACHE", str(tmp_path))
    tile = layer_tiles(LAYOUT, "bf16")[1]
    made = layer_image(LAYOUT, "bf16", tile)
    text = made.ptx.decode()
    assert text.count(".visible .entry") == 1 and f".visible .entry {KERNEL}(" in text and ".target sm_80" in text
    assert (made.rows, made.heads, made.threads, made.shared_bytes) == (16, 2, 128, tile.shared_bytes)
    other = layer_image(HeadLayout((16, 8), (24, 8), 0.5), "bf16", tile)
    assert other.ptx != made.ptx


def test_tiles_that_an_engine_cannot_launch_are_left_out() -> None:
    assert [tile.suffix for tile in layer_tiles(LAYOUT, "fp16")] == ["_d64", "_d64_few"]
    assert [tile.suffix for tile in layer_tiles(WIDE, "bf16")] == ["_d128", "_d128_few"]
    with pytest.raises(KernelError, match="a head is 100 wide, but the TensorRT plugin takes heads up to 64 in fp32"):
        layer_tiles(WIDE, "fp32")
    with pytest.raises(KernelError, match=r"a head is 136 wide.* up to 128 in fp16"):
        layer_tiles(HeadLayout((136,), (8,), 1.0), "fp16")


def test_ahead_of_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """What TensorRT is told: the shape, the tactics, and for each tactic the kernel, its grid and its argument."""
    trt, plugin, registry = make_modules()
    monkeypatch.setitem(sys.modules, "tensorrt.plugin", plugin)
    made: list[tuple[HeadLayout, str, str]] = []
    monkeypatch.setattr(
        "secateur.kernels.layer_image.compile_kernel",
        lambda *a: made.append(a) or type("Compiled", (), {"image": b"ptx"}),
    )
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
        tiles = layer_tiles(LAYOUT, dtype)
        assert combination.types == f"{dtype.upper()}, {dtype.upper()}"
        assert combination.tactics == [n + 1 for n in range(len(tiles))]
        for tactic, tile in zip(combination.tactics, tiles, strict=True):
            name, ptx, params, extra = functions["aot_impl"](qkv, *heads.values(), (out,), tactic)
            assert (name, ptx, extra.values) == (KERNEL, b"ptx", [37])
            assert (params.grid_x, params.grid_y, params.grid_z) == (3 * -(-37 // tile.rows), 2, 1)
            assert (params.block_x, params.block_y, params.shared_mem) == (128, 1, tile.shared_bytes)
            assert made[-1] == (
                "ragged_attention_plugin", 80 if dtype != "fp32" else 75, "ptx", layer_defines(LAYOUT, dtype, tile)
            )  # fmt: skip


def test_python_plugins_before_tensorrt_10_6(monkeypatch: pytest.MonkeyPatch) -> None:
    trt, plugin, registry = make_modules(ahead_of_time=False)
    monkeypatch.setitem(sys.modules, "tensorrt.plugin", plugin)
    monkeypatch.setattr(trt_plugin, "make_creator", lambda trt: type("Creator", (), {"name": "RaggedAttention"}))
    assert register_plugin(trt) == "python"
    creator = registry.creators["secateur::RaggedAttention"]
    assert register_plugin(trt) == "python"
    assert registry.creators["secateur::RaggedAttention"] is creator
    registry.creators.clear()
    registry.refuse = True
    with pytest.raises(KernelError, match=r"TensorRT 10\.3\.0 refuses the plugin RaggedAttention"):
        register_plugin(trt)


@pytest.fixture(scope="module")
def rtx() -> Any:
    """TensorRT-RTX, whose Python classes of plugins are those of TensorRT."""
    return pytest.importorskip("tensorrt_rtx")


def test_the_classes_of_the_python_plugin(rtx: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the real bases, in the real registry: from fields to a plugin, to its clone, and to fields again."""
    assert rtx.get_plugin_registry().register_creator(make_creator(rtx), "secateur")
    creator = rtx.get_plugin_registry().get_creator("RaggedAttention", "1", "secateur")
    assert [field.name for field in creator.field_names] == ["qk_dims", "v_dims", "scale"]
    arrays = [np.array(LAYOUT.qk_dims, np.int32), np.array(LAYOUT.v_dims, np.int32), np.array([0.5], np.float32)]
    kinds = [rtx.PluginFieldType.INT32, rtx.PluginFieldType.INT32, rtx.PluginFieldType.FLOAT32]
    given = [rtx.PluginField(*field) for field in zip(("qk_dims", "v_dims", "scale"), arrays, kinds, strict=True)]
    plugin = creator.create_plugin("layer", rtx.PluginFieldCollection(given), rtx.TensorRTPhase.BUILD)
    copy = plugin.clone().attach_to_context(None)
    assert copy is not plugin and copy.layout == LAYOUT
    assert (copy.plugin_name, copy.plugin_version, copy.plugin_namespace) == ("RaggedAttention", "1", "secateur")
    kept = {field.name: np.array(field.data).tolist() for field in copy.get_fields_to_serialize()}
    assert kept == {"qk_dims": [16, 8], "v_dims": [8, 24], "scale": [0.5]}
    assert copy.get_output_data_types([rtx.float16]) == [rtx.float16]
    assert copy.get_capability_interface(rtx.PluginCapabilityType.BUILD) is copy


@pytest.mark.parametrize(
    ("types", "linear", "supported"),
    [
        (("float16", "float16"), True, True),
        (("bfloat16", "bfloat16"), True, True),
        (("float32", "float32"), True, True),
        (("float16", "float32"), True, False),
        (("int32", "int32"), True, False),
        (("float16", "float16"), False, False),
    ],
)
def test_formats_of_the_python_plugin(rtx: Any, types: tuple[str, str], linear: bool, supported: bool) -> None:
    plugin = make_creator(rtx).plugin(LAYOUT)
    tensors = [rtx.DynamicPluginTensorDesc() for _ in types]
    for tensor, kind in zip(tensors, types, strict=True):
        described = rtx.PluginTensorDesc()
        described.type = getattr(rtx, kind)
        described.format = rtx.TensorFormat.LINEAR if linear else rtx.TensorFormat.CHW32
        tensor.desc = described
    assert plugin.supports_format_combination(1, tensors, 1) is supported


def test_the_python_plugin_launches_in_the_streams_order(rtx: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = make_creator(rtx).plugin(LAYOUT)
    launched: list[tuple[Launch, list[Any]]] = []
    streams: list[int] = []

    class Within:
        def __init__(self, stream: int) -> None:
            self.stream = stream

        def __enter__(self) -> None:
            streams.append(self.stream)

        def __exit__(self, *error: object) -> None:
            streams.append(-1)

    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "ExternalStream", lambda stream, device: stream)
    monkeypatch.setattr(torch.cuda, "stream", Within)
    monkeypatch.setattr(launching, "device_limits", lambda device: DeviceLimits(87, 8, 163 * 1024))
    monkeypatch.setattr(launching, "table_on", lambda layout, device: layout.table)
    monkeypatch.setattr(launching, "run", lambda launch, values: launched.append((launch, values, *streams)))
    described = rtx.PluginTensorDesc()
    described.dims, described.type = (3, 37, LAYOUT.row_width), rtx.bfloat16
    plugin.enqueue([described], [described], [1000], [2000], 0, 77)
    launch, values, stream = launched[0]
    assert (launch.kernel, launch.grid[1], stream) == ("ragged_attention_bf16_d64_few", 2, 77)
    assert values == [1000, None, None, 0, None, 0, LAYOUT.table, 37, 2000]


def test_tensorrt_rtx_takes_no_plugins(rtx: Any) -> None:
    with pytest.raises(KernelError, match=r"builds no engines with plugins .*build from the graph with its functions"):
        register_plugin(rtx)


@pytest.fixture(scope="module")
def graph(node_graphs: dict[str, OnnxInfo]) -> Path:
    return node_graphs["fp16"].path


def test_the_graph_for_the_plugin(graph: Path) -> None:
    model = onnx.load(graph)
    stripped = without_functions(model)
    assert needs_plugin(model) and needs_plugin(stripped)
    assert len(model.functions) == 2 and not stripped.functions
    nodes = [node for node in stripped.graph.node if node.domain == "secateur"]
    found = [{a.name: onnx.helper.get_attribute_value(a) for a in node.attribute} for node in nodes]
    assert [node.op_type for node in nodes] == ["RaggedAttention"] * 2
    assert [one["plugin_namespace"] for one in found] == [b"secateur"] * 2
    assert [list(one["v_dims"]) for one in found] == [[3, 1, 16], [16, 16]]
    plain = onnx.helper.make_model(onnx.helper.make_graph([], "none", [], []))
    assert not needs_plugin(plain)


PARSE_WITH_PLUGIN = """
import sys
import onnx, tensorrt_rtx as trt
from secateur.kernels.onnx_function import without_functions
from secateur.kernels.trt_v3 import make_creator

creator = make_creator(trt)
assert trt.get_plugin_registry().register_creator(creator, "secateur")
logger = trt.Logger(trt.Logger.ERROR)
network = trt.Builder(logger).create_network(0)
print("parsing", flush=True)
trt.OnnxParser(network, logger).parse(without_functions(onnx.load(sys.argv[1])).SerializeToString())
"""


def test_the_parser_of_tensorrt_rtx_ends_the_process_at_a_plugin(rtx: Any, graph: Path) -> None:
    """Why it is refused: the parser finds the plugin, makes it, and calls std::terminate without an exception."""
    if not rtx.__version__.startswith("1.7."):
        pytest.skip(f"this is known of TensorRT-RTX 1.7, and {rtx.__version__} is installed")
    done = subprocess.run([sys.executable, "-P", "-c", PARSE_WITH_PLUGIN, str(graph)], capture_output=True, text=True)
    assert done.stdout == "parsing\n"
    assert done.returncode == -signal.SIGABRT
    assert "terminate called without an active exception" in done.stderr


def test_tensorrt_rtx_builds_from_the_functions(rtx: Any, graph: Path, tmp_path: Path) -> None:
    """For a GPU that is not here; each layer's node becomes the body of its own function."""
    info = sc.build_engine(graph, "tensorrt_rtx:sm_86", tmp_path)
    assert not [layer for layer in info.layers if "plugin" in layer.kind.lower()]


class Parser:
    """Notes what it is given."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def parse_from_file(self, path: str) -> bool:
        self.calls.append((path,))
        return True

    def parse(self, content: bytes, path: str) -> bool:
        self.calls.append((onnx.load_from_string(content), path))
        return True


def test_a_build_uses_the_plugin_where_the_runtime_takes_it(
    rtx: Any, graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trt, plugin, registry = make_modules()
    monkeypatch.setitem(sys.modules, "tensorrt.plugin", plugin)
    parser = Parser()
    assert trt_build._parse(trt, parser, graph)
    content, path = parser.calls[0]
    assert path == str(graph) and not content.functions and "secateur::RaggedAttention" in registry.plugins
    assert trt_build._parse(rtx, parser, graph)
    plain = tmp_path / "plain.onnx"
    onnx.save(without_functions(onnx.load(graph)), plain)
    content = onnx.load(plain)
    del content.graph.node[:]
    onnx.save(content, plain)
    assert trt_build._parse(trt, parser, plain)
    assert parser.calls[1:] == [(str(graph),), (str(plain),)]


def test_an_engine_with_a_python_plugin_is_made_ready_to_load(monkeypatch: pytest.MonkeyPatch) -> None:
    registered: list[str] = []
    monkeypatch.setattr(trt_plugin, "register_plugin", lambda trt: registered.append(trt.__version__))
    for ahead_of_time in (True, False):
        trt, plugin, _ = make_modules(ahead_of_time)
        monkeypatch.setitem(sys.modules, "tensorrt.plugin", plugin)
        trt_plugin.ready_to_load(trt)
    assert registered == ["10.3.0"]
