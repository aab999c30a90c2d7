"""The provider of NVIDIA's package, by a stand-in for it and for what ONNX Runtime does with it: no GPU is here."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from secateur.core.errors import EngineError, MissingPackageError
from secateur.export import ort_engine, ort_plugin
from secateur.export.engines import build_engine, open_engine
from secateur.export.ort_engine import open_session
from secateur.export.runner import plugin
from secateur.export.runner.plugin import PACKAGE, PROVIDER
from tests.export.conftest import needs_ort

pytestmark = needs_ort


def compiled_graph() -> onnx.ModelProto:
    """A graph as a provider leaves it: one node that holds what was compiled."""
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3, 8, 8]) for name in ("input", "logits")
    ]
    node = helper.make_node("EPContext", ["input"], ["logits"], domain="com.microsoft", embed_mode=1, source=PROVIDER)
    graph = helper.make_graph([node], "compiled", values[:1], values[1:])
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


class StandIn:
    """The calls of ONNX Runtime for a provider from a package; `refuse` names what fails, `active` what really runs."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, gpus: int = 1, refuse: str = "", active: str = PROVIDER
    ) -> None:
        import onnxruntime

        self.calls: list[Any] = []
        package = ModuleType(PACKAGE)
        package.get_library_path = lambda: "lib.so"  # type: ignore[attr-defined]  # a module takes any attribute
        monkeypatch.setitem(sys.modules, PACKAGE, package)
        devices = [SimpleNamespace(ep_name=name) for name in ("CPUExecutionProvider", *[PROVIDER] * gpus)]
        stand_in = self

        class Options:
            def add_provider_for_devices(self, chosen: Any, settings: Any) -> None:
                stand_in.calls.append([device.ep_name for device in chosen])

            def add_session_config_entry(self, key: str, value: str) -> None:
                stand_in.calls.append((key, value))

        class Compiler:
            def __init__(self, options: Options, path: str, embed_compiled_data_into_model: bool) -> None:
                assert embed_compiled_data_into_model
                self.path = path

            def compile_to_file(self, out: str) -> None:
                onnx.save(onnx.load(self.path) if refuse == "compile" else compiled_graph(), out)

        def register(name: str, path: str) -> None:
            if refuse == "register":
                raise RuntimeError("libcuda.so.1: cannot open shared object file\nmore")
            stand_in.calls.append((name, path))

        def session(path: str, options: Options, **how: Any) -> Any:
            assert not how
            return SimpleNamespace(
                disable_fallback=lambda: None, get_providers=lambda: [active], get_inputs=list, get_outputs=list
            )

        for name, value in (
            ("SessionOptions", Options),
            ("ModelCompiler", Compiler),
            ("InferenceSession", session),
            ("get_ep_devices", lambda: devices),
            ("register_execution_provider_library", register),
        ):
            monkeypatch.setattr(onnxruntime, name, value, raising=False)
        plugin._register.cache_clear()


def test_a_session_runs_on_its_devices_and_nowhere_else(cnn_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = StandIn(monkeypatch, gpus=2)
    for _ in range(2):
        open_session(cnn_onnx, "tensorrt_rtx")
    used = [[PROVIDER, PROVIDER], ("session.disable_cpu_ep_fallback", "1")]
    assert stand_in.calls == [(PROVIDER, "lib.so"), *used, *used]  # registered once
    StandIn(monkeypatch, active="CPUExecutionProvider")
    with pytest.raises(EngineError, match=f"asked for {PROVIDER} but would silently run on CPUExecutionProvider"):
        open_session(cnn_onnx, "tensorrt_rtx")


def test_an_engine_is_the_compiled_graph_and_opens_on_that_provider_only(
    cnn_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    StandIn(monkeypatch)
    info = build_engine(cnn_onnx, "onnxruntime:tensorrt_rtx", tmp_path)
    assert (info.inspected, info.precision, set(info.precisions)) == ("network", "fp32", {"fp32"})
    assert ort_plugin.has_context(onnx.load(info.path))
    open_engine(info.folder).close()
    (tmp_path / "compiled.onnx").write_bytes(info.path.read_bytes())
    with pytest.raises(EngineError, match=r"compiled.onnx holds what .* \(EPContext\), which onnxruntime:cpu cannot"):
        open_engine(tmp_path / "compiled.onnx", "onnxruntime:cpu")
    StandIn(monkeypatch, refuse="compile")
    with pytest.raises(EngineError, match=r"compiled nothing of model.onnx: it would run elsewhere"):
        build_engine(cnn_onnx, "onnxruntime:tensorrt_rtx", tmp_path / "other")


def test_what_is_missing_is_said(cnn_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    StandIn(monkeypatch, gpus=0)
    with pytest.raises(EngineError, match="finds no GPU that it serves here"):
        open_session(cnn_onnx, "tensorrt_rtx")
    StandIn(monkeypatch, refuse="register")
    with pytest.raises(EngineError, match=r"does not load \(libcuda.so.1: cannot open shared object file\): it needs"):
        open_session(cnn_onnx, "tensorrt_rtx")
    monkeypatch.delattr(onnxruntime, "register_execution_provider_library")
    with pytest.raises(EngineError, match="takes no providers from packages"):
        open_session(cnn_onnx, "tensorrt_rtx")
    monkeypatch.setitem(sys.modules, PACKAGE, None)
    with pytest.raises(MissingPackageError, match=r"secateur\[ort-rtx\]"):
        open_session(cnn_onnx, "tensorrt_rtx")
    assert ort_engine.PROVIDERS["tensorrt_rtx"] == PROVIDER


@pytest.mark.skipif(find_spec(PACKAGE) is None, reason="the provider's package is not installed")
def test_the_package_names_its_provider() -> None:
    import onnxruntime_ep_nv_tensorrt_rtx as package

    assert package.get_ep_name() == PROVIDER
    assert Path(package.get_library_path()).is_file()
