"""The TensorRT plugin, as far as it can be run without a GPU: both kinds, their kernels (emulated), their graphs."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest

import secateur as sc
from secateur.core.errors import KernelError
from secateur.export import trt_build
from secateur.export.onnx_info import OnnxInfo
from secateur.kernels import trt_plugin
from secateur.kernels.onnx_function import without_functions
from secateur.kernels.trt_plugin import needs_plugin, register_plugin
from tests.kernels.fake_trt_plugin import make_modules


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
