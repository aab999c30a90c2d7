"""A model repository for Triton Inference Server: config.pbtxt, labels, and one version for each precision.

The keys are those of `model_config.proto` of triton-inference-server/common. An engine has the name of its GPU, and
`cc_model_filenames` alone says which file a GPU loads: there is no `model.plan`, the name that Triton takes by default,
so that a GPU without an engine loads none instead of another one's.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from secateur.core.errors import ExportError
from secateur.core.files import atomic_path, write_text
from secateur.export.engine_info import EngineInfo
from secateur.export.graph_types import external_files, read_graph
from secateur.export.notes import graph_notes
from secateur.export.precision import WITHOUT_KERNELS
from secateur.export.runner.tensors import DYNAMIC, TensorInfo

LABELS = "labels.txt"
DELAY_US = 100
"""How long a request waits for others to share its batch, in microseconds."""
ENDINGS = ("onnx", "tensorrt", "dla")
"""What the names of the models of a repository end with."""
LARGEST = 8
"""The batch that a graph without a limit of its own is served at most."""

_TYPES: Mapping[str, str] = {
    "bool": "TYPE_BOOL",
    "uint8": "TYPE_UINT8",
    "int8": "TYPE_INT8",
    "int32": "TYPE_INT32",
    "int64": "TYPE_INT64",
    "float16": "TYPE_FP16",
    "bfloat16": "TYPE_BF16",
    "float32": "TYPE_FP32",
}


@dataclass(frozen=True)
class Repository:
    """What was written: the `files`, relative to the repository, and what was `left_out`, each with the reason."""

    files: tuple[str, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Model:
    """One model of the repository: `versions` has for each precision the files that go into its folder, by name."""

    name: str
    backend: str
    kind: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    largest: int
    versions: Mapping[str, Mapping[str, Path]]
    classes: tuple[str, ...] = ()
    file: str = ""
    capabilities: Mapping[str, str] = field(default_factory=dict)
    dla: bool = False


def write_triton(
    folder: Path, name: str, graphs: Sequence[Path] = (), engines: Sequence[EngineInfo] = (), largest: int = LARGEST
) -> Repository:
    """Writes a model repository into `folder`: `<name>_onnx` for the graphs, `<name>_tensorrt` for the engines.

    Graphs are served by ONNX Runtime on the CPU in batches up to `largest`, engines in those that they were built for.
    Versions are numbered in the order in which their precisions come. Raises `ExportError` for a name that is no
    folder, for files that do not go in or come out alike, and where there is nothing to serve.

    >>> from secateur.export.serving.triton import write_triton
    >>> _ = sc.export_onnx(small, "small.onnx")
    >>> write_triton(Path("repository"), "small", [Path("small.onnx")]).files
    ('small_onnx/1/model.onnx', 'small_onnx/config.pbtxt')
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise ExportError(
            f"the model is to be served as {name!r}, but takes letters, digits, '_', '-' and '.' only: name it so"
        )
    left_out = {
        f"{info.target} in {info.precision}": "Triton's backend loads engines of TensorRT, and serves the graph instead"
        for info in engines
        if info.runtime != "tensorrt"
    }
    left_out.update({f"{info.target} in {info.precision}": info.not_portable for info in engines if info.not_portable})
    served = [info for info in engines if info.runtime == "tensorrt" and not info.not_portable]
    runnable = []
    for graph in graphs:
        if (precision := graph_notes(read_graph(graph), graph.name).precision) in WITHOUT_KERNELS:
            left_out[graph.name] = f"ONNX Runtime has no kernels for {precision} on the CPU"
        else:
            runnable.append(graph)
    models = [_of_graphs(f"{name}_onnx", runnable, largest)] if runnable else []
    for target, ending in (("tensorrt", "tensorrt"), ("tensorrt:dla", "dla")):
        if chosen := [info for info in served if info.target == target]:
            models.append(_of_engines(f"{name}_{ending}", chosen))
    if not models:
        reasons = "".join(f"; {what} is left out: {why}" for what, why in left_out.items())
        raise ExportError(
            f"there is neither a graph nor an engine of TensorRT to serve: export and build first{reasons}"
        )
    return Repository(tuple(path for model in models for path in _write(folder, model)), left_out)


def _of_graphs(name: str, graphs: Sequence[Path], largest: int) -> _Model:
    versions: dict[str, dict[str, Path]] = {}
    signatures, classes = [], set()
    for path in graphs:
        content = read_graph(path)
        notes = graph_notes(content, path.name)
        beside = {file: path.parent / file for file in external_files(content)}
        if notes.precision in versions:
            raise ExportError(f"two graphs in {notes.precision} are to be served as {name}: give one for each")
        versions[notes.precision] = {"model.onnx": path, **beside}
        signatures.append((notes.inputs, notes.outputs))
        classes.add(notes.classes)
    inputs, outputs = _same(name, signatures)
    largest = largest if all(one.shape[:1] == (DYNAMIC,) for one in (*inputs, *outputs)) else 0
    labels = classes.pop() if len(classes) == 1 else ()
    return _Model(name, "onnxruntime", "KIND_CPU", inputs, outputs, largest, versions, labels, file="model.onnx")


def _of_engines(name: str, engines: Sequence[EngineInfo]) -> _Model:
    versions: dict[str, dict[str, Path]] = {}
    capabilities: dict[str, str] = {}
    for info in engines:
        (capability,) = info.compute_capabilities or ("",)
        if not re.fullmatch(r"sm_\d+", capability):
            raise ExportError(f"{info.path} does not say for which GPU it is: build it again where it is served")
        file = f"model.{capability}.plan"
        capabilities[dotted(capability)] = file
        version = versions.setdefault(info.precision, {})
        if file in version:
            raise ExportError(f"two engines for {capability} in {info.precision} are to be served as {name}: give one")
        info.check_file()
        version[file] = info.path
    inputs, outputs = _same(name, [(info.inputs, info.outputs) for info in engines])
    dynamic = all(one.shape[:1] == (DYNAMIC,) for one in (*inputs, *outputs))
    largest = min(info.profile.largest for info in engines) if dynamic else 0
    labels = {info.classes for info in engines}
    return _Model(
        name=name,
        backend="tensorrt",
        kind="KIND_GPU",
        inputs=inputs,
        outputs=outputs,
        largest=largest,
        versions=versions,
        classes=labels.pop() if len(labels) == 1 else (),
        capabilities=capabilities,
        dla=engines[0].target == "tensorrt:dla",
    )


def dotted(capability: str) -> str:
    """A compute capability as Triton writes it: `8.6` for `sm_86`, `11.0` for `sm_110`."""
    digits = capability.removeprefix("sm_")
    return f"{digits[:-1]}.{digits[-1]}"


def _same(
    name: str, signatures: Sequence[tuple[tuple[TensorInfo, ...], tuple[TensorInfo, ...]]]
) -> tuple[tuple[TensorInfo, ...], tuple[TensorInfo, ...]]:
    first = signatures[0]
    for other in signatures[1:]:
        if other != first:
            takes = "; ".join(", ".join(map(str, (*inputs, *outputs))) for inputs, outputs in (first, other))
            raise ExportError(f"all versions of {name} must take and give the same, but have {takes}: serve them apart")
    return first


def _write(folder: Path, model: _Model) -> Iterable[str]:
    for number, files in enumerate(model.versions.values(), 1):
        for file, source in sorted(files.items()):
            path = folder / model.name / str(number) / file
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(path) as part:
                shutil.copyfile(source, part)
            yield path.relative_to(folder).as_posix()
    if model.classes:
        write_text(folder / model.name / LABELS, label_lines(model.classes))
        yield f"{model.name}/{LABELS}"
    write_text(folder / model.name / "config.pbtxt", _config(model))
    yield f"{model.name}/config.pbtxt"


def label_lines(classes: Sequence[str]) -> str:
    """The names of classes, each in a line of its own."""
    return "".join(f"{' '.join(name.split())}\n" for name in classes)


def _config(model: _Model) -> str:
    """The model's configuration, in the text format of protocol buffers."""
    numbers = range(1, len(model.versions) + 1)
    said = ", ".join(f"{number} is {precision}" for number, precision in zip(numbers, model.versions, strict=True))
    lines = [
        f"# versions: {said}",
        f"name: {json.dumps(model.name)}",
        f"backend: {json.dumps(model.backend)}",
        f"max_batch_size: {model.largest}",
        *(_tensor("input", tensor, model) for tensor in model.inputs),
        *(_tensor("output", tensor, model) for tensor in model.outputs),
        f"version_policy {{ specific {{ versions: [ {', '.join(map(str, numbers))} ] }} }}",
        _instances(model),
    ]
    if model.largest > 1:
        lines.append(f"dynamic_batching {{ max_queue_delay_microseconds: {DELAY_US} }}")
    if model.file:
        lines.append(f"default_model_filename: {json.dumps(model.file)}")
    lines += [
        f"cc_model_filenames {{ key: {json.dumps(capability)} value: {json.dumps(file)} }}"
        for capability, file in sorted(model.capabilities.items())
    ]
    return "\n".join(lines) + "\n"


def _instances(model: _Model) -> str:
    second = " secondary_devices { kind: KIND_NVDLA device_id: 0 }" if model.dla else ""
    return f"instance_group {{ count: 1 kind: {model.kind}{second} }}"


def _tensor(word: str, tensor: TensorInfo, model: _Model) -> str:
    if tensor.dtype not in _TYPES:
        raise ExportError(f"{tensor} cannot be served: Triton knows {', '.join(_TYPES)}")
    dims = tensor.shape[1:] if model.largest else tensor.shape
    labels = word == "output" and model.classes and tensor.shape[1:] == (len(model.classes),)
    named = f" label_filename: {json.dumps(LABELS)}" if labels else ""
    # a scalar for each sample has no dimensions of its own, which Triton writes as one of 1 that is reshaped away
    sizes = f"[ {', '.join(map(str, dims))} ]" if dims else "[ 1 ] reshape { shape: [ ] }"
    return f"{word} {{ name: {json.dumps(tensor.name)} data_type: {_TYPES[tensor.dtype]} dims: {sizes}{named} }}"
