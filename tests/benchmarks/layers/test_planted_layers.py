"""Layers whose pruned side is spoilt in real graphs and sessions: the sentence that is said of them."""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from secateur.benchmarks.layers import ort_layers
from secateur.benchmarks.layers.graph_work import graph_work
from secateur.benchmarks.layers.match import match_layers
from secateur.benchmarks.layers.operations import LayerTimes
from secateur.benchmarks.layers.ort_layers import OrtLayers
from secateur.benchmarks.layers.reasons import explain
from secateur.export.ort_engine import PROVIDERS
from tests.benchmarks.layers.planted import ROOFLINE
from tests.export.conftest import needs_ort

TOKENS, WIDTH = 256, 256
CUDA = PROVIDERS["cuda"]


def block(path: Path, taken: int, root: float = 2**0.5, spread: str = "Sqrt") -> Path:
    """Writes a product of `[batch, 256, taken]` with its GELU and a LayerNorm, both spelt out node by node.

    With another `root` than that of two it is no GELU, and with another `spread` no standard deviation: nothing fuses
    them.
    """
    numbers = {"root": root, "one": 1, "half": 0.5, "power": 2, "eps": 1e-5}
    rng = np.random.default_rng(0)
    tensors = {name: np.float32(value) for name, value in numbers.items()}
    tensors |= {"b": rng.random(WIDTH, np.float32), "g": rng.random(WIDTH, np.float32)}
    weights = [numpy_helper.from_array(np.asarray(value), name) for name, value in tensors.items()]
    weights += [
        numpy_helper.from_array(rng.random((taken, WIDTH), np.float32), "w"),
        numpy_helper.from_array(np.array([-1]), "axes"),
    ]
    lines = [
        ("fc", "MatMul", ["input", "w"], "product"),
        ("fc", "Add", ["product", "b"], "sum"),
        ("act", "Div", ["sum", "root"], "scaled"),
        ("act", "Erf", ["scaled"], "erf"),
        ("act", "Add", ["erf", "one"], "raised"),
        ("act", "Mul", ["sum", "raised"], "gated"),
        ("act", "Mul", ["gated", "half"], "gelu"),
        ("norm", "ReduceMean", ["gelu", "axes"], "mean"),
        ("norm", "Sub", ["gelu", "mean"], "centred"),
        ("norm", "Pow", ["centred", "power"], "square"),
        ("norm", "ReduceMean", ["square", "axes"], "variance"),
        ("norm", "Add", ["variance", "eps"], "positive"),
        ("norm", spread, ["positive"], "deviation"),
        ("norm", "Div", ["centred", "deviation"], "normal"),
        ("norm", "Mul", ["normal", "g"], "stretched"),
        ("norm", "Add", ["stretched", "b"], "output"),
    ]
    nodes = []
    for module, kind, reads, gives in lines:
        nodes.append(helper.make_node(kind, reads, [gives], name=f"{kind}_{gives}"))
        nodes[-1].metadata_props.append(onnx.StringStringEntryProto(key="module", value=module))
    takes = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", TOKENS, taken])
    gives_ = helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", TOKENS, WIDTH])
    graph = helper.make_graph(nodes, "secateur", [takes], [gives_], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> dict[str, LayerTimes]:
    """The dense block, and three with three quarters of its MACs: as it should be, broken, and not optimised.

    Of each 40 runs of one image in a session of ONNX Runtime, in turns.
    """
    folder = tmp_path_factory.mktemp("sides")
    graphs = {
        "dense": block(folder / "dense.onnx", 16),
        "pruned": block(folder / "pruned.onnx", 12),
        "broken": block(folder / "broken.onnx", 12, root=1.5, spread="Exp"),
    }
    real, opened = ort_layers.open_session, {}
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        for name, path in (*graphs.items(), ("unoptimised", graphs["pruned"])):
            if name == "unoptimised":
                patch.setattr(ort_layers, "open_session", lambda *given: real(*given, as_written=True))
            layers = OrtLayers(path, graph_work(path, 1), "cpu", 1, 1, folder / name)
            opened[name] = stack.enter_context(closing(layers))
        for _ in range(40):
            for layers in opened.values():
                layers.run()
        return {name: layers.finish() for name, layers in opened.items()}


def said(dense: LayerTimes, pruned: LayerTimes, provider: str = PROVIDERS["cpu"]) -> dict[str, str]:
    """What is said of each layer."""
    return {layer.name: explain(layer, ROOFLINE, provider) for layer in match_layers(dense, pruned)}


@needs_ort
def test_a_gelu_and_a_norm_that_pruning_has_broken_lose_their_fusions(sides: dict[str, LayerTimes]) -> None:
    found = said(sides["dense"], sides["broken"])
    assert list(found) == ["fc", "norm"]
    assert found["fc"].startswith("lost fusion: 2 Add, Div, Erf and 2 Mul of the pruned layer take 0.")
    assert found["fc"].endswith(" ms on their own, and are inside of BiasGelu in the dense layer")
    assert found["norm"].startswith("lost fusion: 2 ReduceMean, Sub, Pow, 2 Add, Div and Mul of the pruned layer take")
    assert found["norm"].endswith(" ms on their own, and are inside of LayerNormalization in the dense layer")


@needs_ort
def test_a_session_that_optimises_nothing_loses_them_too(sides: dict[str, LayerTimes]) -> None:
    found = said(sides["dense"], sides["unoptimised"])
    assert [sentence.partition(":")[0] for sentence in found.values()] == ["lost fusion", "lost fusion"]


@needs_ort
def test_what_stays_fused_says_nothing_of_it(sides: dict[str, LayerTimes]) -> None:
    assert not any("lost fusion" in sentence for sentence in said(sides["dense"], sides["pruned"]).values())


@needs_ort
def test_a_provider_that_runs_the_dense_side_alone(sides: dict[str, LayerTimes]) -> None:
    """The pruned side is as its session ran it; into the dense one the provider is written that has no GPU here."""
    operations = tuple(replace(one, provider=CUDA) for one in sides["dense"].operations)
    found = said(replace(sides["dense"], operations=operations), sides["broken"], CUDA)
    assert found["fc"] == (
        "provider fallback: MatMul, 2 Add, Div, Erf and 2 Mul of the pruned layer run on CPUExecutionProvider, not on "
        f"{CUDA}"
    )
