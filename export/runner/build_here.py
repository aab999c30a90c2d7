"""Builds an engine for `build --device`: `python -m bundle_runner.build_here JOB.json OUT`.

TensorRT builds the engine for the GPU of this machine, in the types of the graph. For ONNX Runtime the graph itself is
the engine: it is opened on the provider, and the graph as it was optimised for it comes back without its weights.
"""

from __future__ import annotations

import json
import platform
import shutil
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

from .errors import InferenceError, RunnerError, UnavailableError
from .graph_check import check_graph
from .machine import this_machine
from .runtimes import NAMES, import_runtime, open_model, open_session
from .sensors.probe import SensorError
from .sensors.watched import watched
from .tensors import DYNAMIC, TensorInfo
from .trt_model import make_logger

SCHEMA = "secateur.build_here/1"
ENGINE, LAYERS, OPTIMISED = "model.engine", "layers.json", "optimised.onnx"


def build(job: dict[str, Any], folder: Path, out: Path) -> dict[str, Any]:
    """Builds what a job says into `out`, and returns what was built with; raises `RunnerError`."""
    runtime, _, device = job["target"].partition(":")
    module, graph = import_runtime(runtime), folder / job["graph"]
    found: dict[str, Any] = {"inputs": [], "outputs": []}
    if runtime == "onnxruntime":
        optimise(module, graph, device or "cpu", out / OPTIMISED)
    else:
        plan, layers, tensors = build_plan(module, graph, job["profile"], job["tf32"])
        (out / LAYERS).write_text(layers, encoding="utf-8")
        (out / ENGINE).write_bytes(plan)
        found = {side: [vars(tensor) for tensor in each] for side, each in tensors.items()}
    here = this_machine()
    return {
        "schema": SCHEMA,
        "version": str(module.__version__),
        "platform": f"{platform.system()}-{platform.machine()}".lower(),
        "capability": here.capability if runtime != "onnxruntime" else "",
        **found,
    }


def optimise(module: ModuleType, graph: Path, device: str, out: Path) -> None:
    """Opens a graph on a device of ONNX Runtime, and writes what it made of it; its weights stay behind."""
    open_model(graph, f"onnxruntime:{device}", 1).close()  # raises where another provider would run it
    options = module.SessionOptions()
    options.log_severity_level = 4
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / OPTIMISED
        options.optimized_model_filepath = str(whole)
        options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "weights.data")
        open_session(module, graph, options, device)
        shutil.copyfile(str(whole), str(out))


def build_plan(
    trt: ModuleType, graph: Path, profile: list[int], tf32: bool
) -> tuple[bytes, str, dict[str, list[TensorInfo]]]:
    """The engine, its layers as the inspector's JSON, and what goes in and comes out.

    `profile` has the smallest, the usual and the largest batch. Raises `UnavailableError` where there is no GPU, and
    `InferenceError` in TensorRT's words for a graph that it cannot build.
    """
    name, logger = NAMES.get(trt.__name__, trt.__name__), make_logger(trt)
    try:
        builder = trt.Builder(logger)
    except (TypeError, RuntimeError) as error:  # a null builder from the C++ side
        raise UnavailableError(f"{name} cannot start its builder here ({logger.sentences()})") from error
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(0 if flag is None else 1 << int(flag))
    parser = trt.OnnxParser(network, logger)
    check_graph(graph)
    if not parser.parse_from_file(str(graph)):
        said = "; ".join(str(parser.get_error(index).desc()) for index in range(parser.num_errors))
        raise InferenceError(f"{name} {trt.__version__} cannot read {graph.name}: {said or logger.sentences()}")
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    (config.set_flag if tf32 else config.clear_flag)(trt.BuilderFlag.TF32)
    shapes, dynamic = builder.create_optimization_profile(), False
    for tensor in (network.get_input(index) for index in range(network.num_inputs)):
        sizes = tuple(tensor.shape)
        if DYNAMIC in sizes[:1]:
            dynamic = True
            shapes.set_shape(tensor.name, *((batch, *sizes[1:]) for batch in profile))
    if dynamic and config.add_optimization_profile(shapes) < 0:
        raise InferenceError(f"the batch sizes {profile} do not fit the inputs of {graph.name}")
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise InferenceError(f"{name} {trt.__version__} cannot build {graph.name}: {logger.sentences()}")
    content = bytes(plan)
    runtime = trt.Runtime(logger)
    engine = runtime.deserialize_cuda_engine(content)
    if engine is None:
        raise InferenceError(f"{name} {trt.__version__} cannot load what it built: {logger.sentences()}")
    layers = engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    inputs = [_tensor(trt, network.get_input(index)) for index in range(network.num_inputs)]
    outputs = [_tensor(trt, network.get_output(index)) for index in range(network.num_outputs)]
    return content, str(layers), {"inputs": inputs, "outputs": outputs}


def _tensor(trt: ModuleType, tensor: Any) -> TensorInfo:
    import numpy as np

    return TensorInfo(tensor.name, str(np.dtype(trt.nptype(tensor.dtype)).name), tuple(int(n) for n in tensor.shape))


def main(words: list[str]) -> None:
    """Does the job in the first file, into the second folder, and says what the device was like meanwhile."""
    job, out = json.loads(Path(words[0]).read_text(encoding="utf-8")), Path(words[1])
    print(f"building {job['graph']} for {job['target']}", flush=True)
    with tempfile.TemporaryDirectory() as folder:  # what is cut off in the middle is no result
        made = Path(folder)
        try:
            found, seen = watched(lambda: build(job, Path(words[0]).resolve().parent, made))
        except (RunnerError, SensorError) as error:
            sys.exit(str(error))
        content = {**found, "conditions": asdict(seen)}
        (made / "built.json").write_text(json.dumps(content) + "\n", encoding="utf-8")
        for path in made.iterdir():
            shutil.move(str(path), str(out / path.name))


if __name__ == "__main__":
    main(sys.argv[1:])
