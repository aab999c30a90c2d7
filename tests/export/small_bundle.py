"""A bundle of a linear model on pictures of 4 x 4 pixels, made in milliseconds, for tests of bundles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from secateur.export.bundle.contents import Contents, EngineOf, GraphOf, Picture
from secateur.export.engine_info import EngineInfo, Profile
from secateur.export.onnx_info import OnnxInfo, onnx_info
from secateur.export.runner.evidence import Cost, Evidence, Latency, Machine, Metric
from secateur.export.runner.machine import this_machine
from secateur.export.runner.preprocess import Preprocessing
from secateur.export.runner.tensors import TensorInfo

CLASSES = ("cat", "dog", "eel")
SHAPE = (1, 4, 4)
RECIPE = Preprocessing(SHAPE, (0.5,), (0.25,), "bicubic", 0.9, "center")


def make_onnx(path: Path, seed: int, fp16: bool = False) -> OnnxInfo:
    """A graph `logits = flat(input) @ weight`, of float32 outside; inside of float16 if asked."""
    kind = TensorProto.FLOAT16 if fp16 else TensorProto.FLOAT
    weight = np.random.default_rng(seed).normal(size=(16, 3)).astype(np.float16 if fp16 else np.float32)
    nodes = [
        helper.make_node("Flatten", ["input"], ["flat"]),
        helper.make_node("Cast", ["flat"], ["narrow"], to=kind),
        helper.make_node("MatMul", ["narrow", "weight"], ["product"], name="product"),
        helper.make_node("Cast", ["product"], ["logits"], to=TensorProto.FLOAT),
    ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", *SHAPE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(weight, "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    onnx.save(model, path)
    return onnx_info(path)


def make_engine(folder: Path, capability: str = "sm_86", version: str = "1.7.1") -> EngineInfo:
    """What is known of an engine for that GPU, whose plan is the word `plan`."""
    folder.mkdir(parents=True)
    info = EngineInfo(
        target=f"tensorrt_rtx:{capability}",
        runtime="tensorrt_rtx",
        runtime_version=version,
        platform=this_machine().platform,
        compute_capabilities=(capability,),
        precision="fp32",
        precisions={"fp32": 1},
        inspected="network",
        tf32=True,
        inputs=(TensorInfo("input", "float32", (-1, *SHAPE)),),
        outputs=(TensorInfo("logits", "float32", (-1, 3)),),
        profile=Profile(),
        onnx_sha256="0" * 64,
        engine_sha256="0" * 64,
        size_bytes=4,
        seconds=0.5,
        layers=(),
        folder=folder,
    )
    info.path.write_bytes(b"plan")
    info.save()
    return info


def pictures(count: int = 3) -> tuple[list[Picture], NDArray[np.float32]]:
    """Grey pictures of noise as PNG, and the inputs that they become."""
    import io

    draws, found = np.random.default_rng(0), []
    for _ in range(count):
        file = io.BytesIO()
        Image.fromarray(draws.integers(0, 256, (9, 7), dtype=np.uint8)).save(file, "PNG")
        found.append(Picture(file.getvalue(), ".png"))
    return found, np.concatenate([RECIPE.input_from(one.content, "a picture") for one in found])


def evidence() -> Evidence:
    """What was measured of the linear model, on this machine."""
    here = this_machine()
    machine = Machine(
        cpu_model=here.cpu_model,
        threads=1,
        platform=here.platform,
        gpu=here.gpu,
        capability=here.capability,
        os="Linux",
        python=here.python,
        versions={"onnxruntime": "1.20"},
    )
    latency = Latency(1, (2.2,) * 10, (2.0,) * 10, 1.2, 1.1, 1.3)
    metric = Metric("top-1 accuracy", "%", 91.0, 90.0, 100, 82.6, 94.5)
    return Evidence((metric,), Cost(96, 48), Cost(96, 48), Cost(600, 600), {"onnxruntime:cpu": latency}, machine)


def make_contents(folder: Path) -> Contents:
    """All that goes into the bundle; graphs and an engine are written below `folder`."""
    images, inputs = pictures()
    return Contents(
        model="linear",
        classes=CLASSES,
        preprocessing=RECIPE,
        graphs=[
            GraphOf(make_onnx(folder / "model.onnx", 0), make_onnx(folder / "model.dense.onnx", 1)),
            GraphOf(make_onnx(folder / "model.fp16.onnx", 0, fp16=True)),
        ],
        engines=[EngineOf(make_engine(folder / "engines" / "rtx"))],
        pictures=images,
        inputs={"input": inputs},
        evidence=evidence(),
        environment={"bench": {"os": "Linux"}},
        licences={"model.txt": "Free.\n"},
    )
