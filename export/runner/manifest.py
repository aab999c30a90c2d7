"""MANIFEST.json: every file of a bundle with its SHA-256, and what the graphs, engines and golden arrays in it are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping

from .errors import BundleError
from .fields import Fields, read_object, text_of
from .names import check_apart, checked_name
from .tensors import DYNAMIC, TensorInfo

NAME = "MANIFEST.json"
SCHEMA = "secateur.bundle/1"
LABELS, PREPROCESSING, EVIDENCE = "labels.json", "preprocessing.json", "evidence.json"
MOST_BYTES = 16 << 20
"""The largest MANIFEST.json."""
MOST_FILES = 10000
MOST_TOTAL = 64 << 30
"""Bytes of all files of a bundle together."""
_TARGET = "(tensorrt|tensorrt_rtx|onnxruntime)(:[a-z0-9_]+)?"
_WORD = "[a-z0-9_.+-]{1,40}"
_DEVICE = "([A-Za-z0-9][A-Za-z0-9._-]{0,63})?"
_DTYPES = "float16|float32|float64|int8|uint8|int16|int32|int64|bool|bfloat16"


@dataclass(frozen=True)
class FileInfo:
    """One file: its SHA-256 and its size."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class Graph:
    """An ONNX graph: what goes in and out, and for each output the file of what the golden inputs give.

    An output is right where its largest difference is at most `tolerance` of its largest value, and its cosine with
    the golden one is at least `cosine`. `dense` names the graph of the unpruned model, if it is in the bundle.
    """

    precision: str
    path: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    golden: Mapping[str, str]
    tolerance: float
    cosine: float
    dense: str = ""


@dataclass(frozen=True)
class Built:
    """An engine: for which target, with what, and on which devices it runs.

    Of ONNX Runtime the engine is the graph itself, and `capabilities` and `platform` are empty. `smallest` and
    `largest` bound the images at once; 0 is no bound. Plans run on `this` kind of GPU alone, on the `same_capability`,
    or on `ampere_plus` (`hardware`), and with `this` version or `newer` ones (`versions`). `dense` names the engine of
    the unpruned model, if it is in the bundle, and `device` the device over ssh that built both.
    """

    target: str
    precision: str
    path: str
    runtime: str
    runtime_version: str
    capabilities: tuple[str, ...] = ()
    platform: str = ""
    smallest: int = 1
    largest: int = 0
    hardware: str = "this"
    versions: str = "this"
    dense: str = ""
    device: str = ""

    @property
    def lean(self) -> str:
        """The version whose lean runtime a plan for newer versions needs; empty where none is needed."""
        return self.runtime_version if self.versions == "newer" else ""

    @property
    def key(self) -> str:
        """The target with the precision where that is not fp32, as results name it: `onnxruntime:cpu@fp16`."""
        return self.target if self.precision == "fp32" else f"{self.target}@{self.precision}"

    @property
    def name(self) -> str:
        """The key, and before it the device that built it: `orin/tensorrt@fp16`."""
        return f"{self.device}/{self.key}" if self.device else self.key


@dataclass(frozen=True)
class Golden:
    """The images as they were found, in the order of the batch, and by input the array that they become."""

    images: tuple[str, ...]
    inputs: Mapping[str, str]


@dataclass(frozen=True)
class Manifest:
    """MANIFEST.json. `classes` counts the names in labels.json."""

    model: str
    classes: int
    files: Mapping[str, FileInfo]
    graphs: tuple[Graph, ...]
    engines: tuple[Built, ...]
    golden: Golden

    def graph(self, precision: str) -> Graph:
        """The graph of a precision."""
        return next(graph for graph in self.graphs if graph.precision == precision)


def parse_manifest(data: bytes) -> Manifest:
    """What a MANIFEST.json says; raises `BundleError` with the first thing in it that is wrong."""
    if len(data) > MOST_BYTES:
        raise BundleError(f"{NAME} has {len(data)} bytes, but at most {MOST_BYTES} are read")
    fields = read_object(data, NAME, SCHEMA)
    manifest = Manifest(
        model=fields.text("model"),
        classes=fields.count("classes", 1000000),
        files=fields.named("files", _file, MOST_FILES),
        graphs=fields.items("graphs", _graph, 100),
        engines=fields.items("engines", _built, 1000),
        golden=_golden(fields.inner("golden")),
    )
    fields.end()
    _check(manifest)
    return manifest


def _check(manifest: Manifest) -> None:
    """Raises `BundleError` where the parts of a manifest do not fit together."""
    for name in manifest.files:
        checked_name(name, NAME)
    check_apart([NAME, *manifest.files], NAME)
    if sum(one.size_bytes for one in manifest.files.values()) > MOST_TOTAL:
        raise BundleError(f"{NAME} lists more than {MOST_TOTAL} bytes, the most that a bundle may hold")
    named = [LABELS, PREPROCESSING, EVIDENCE, *manifest.golden.images, *manifest.golden.inputs.values()]
    for graph in manifest.graphs:
        named += [graph.path, *graph.golden.values(), *([graph.dense] if graph.dense else [])]
        if {one.name for one in graph.inputs} != set(manifest.golden.inputs):
            raise BundleError(f"{NAME}: {graph.path} has other inputs than the golden ones")
        if {one.name for one in graph.outputs} != set(graph.golden):
            raise BundleError(f"{NAME}: {graph.path} has other outputs than the golden ones")
    precisions = [graph.precision for graph in manifest.graphs]
    if len(set(precisions)) != len(precisions) or not precisions:
        raise BundleError(f"{NAME} lists the graphs {precisions}, but one of each precision is needed")
    for engine in manifest.engines:
        named += [engine.path, *([engine.dense] if engine.dense else [])]
        if engine.precision not in precisions:
            raise BundleError(f"{NAME}: {engine.path} is in {engine.precision}, of which there is no graph")
        if engine.target.partition(":")[0] != engine.runtime:
            raise BundleError(f"{NAME}: {engine.path} for {engine.target} has the runtime {engine.runtime}")
    names = [engine.name for engine in manifest.engines]
    if len(set(names)) != len(names):
        raise BundleError("{} lists two engines of one name: {}".format(NAME, ", ".join(sorted(names))))
    for name in named:
        if name not in manifest.files:
            raise BundleError(f"{NAME} speaks of {name[:160]!a}, which is none of its files")


def _file(value: Any, where: str) -> FileInfo:
    fields = Fields(value, where)
    found = FileInfo(fields.text("sha256", "[0-9a-f]{64}"), fields.count("size_bytes", MOST_TOTAL))
    fields.end()
    return found


def _tensor(value: Any, where: str) -> TensorInfo:
    fields = Fields(value, where)
    shape = fields.items("shape", lambda one, place: Fields({"size": one}, place).count("size", 1 << 31, DYNAMIC), 16)
    found = TensorInfo(fields.text("name"), fields.text("dtype", _DTYPES), shape)
    fields.end()
    return found


def _names(fields: Fields, key: str) -> dict[str, str]:
    return fields.named(key, text_of, 100)


def _graph(value: Any, where: str) -> Graph:
    fields = Fields(value, where)
    found = Graph(
        precision=fields.text("precision", _WORD),
        path=fields.text("path"),
        inputs=fields.items("inputs", _tensor, 100),
        outputs=fields.items("outputs", _tensor, 100),
        golden=_names(fields, "golden"),
        tolerance=fields.number("tolerance", 0, 1),
        cosine=fields.number("cosine", 0, 1),
        dense=fields.text("dense"),
    )
    fields.end()
    return found


def _built(value: Any, where: str) -> Built:
    fields = Fields(value, where)
    found = Built(
        target=fields.text("target", _TARGET),
        precision=fields.text("precision", _WORD),
        path=fields.text("path"),
        runtime=fields.text("runtime", _WORD),
        runtime_version=fields.text("runtime_version", _WORD),
        capabilities=fields.items("capabilities", text_of, 100),
        platform=fields.text("platform"),
        smallest=fields.count("smallest", 1 << 20, 1),
        largest=fields.count("largest", 1 << 20),
        hardware=fields.text("hardware", "this|same_capability|ampere_plus"),
        versions=fields.text("versions", "this|newer"),
        dense=fields.text("dense"),
        device=fields.text("device", _DEVICE, ""),
    )
    fields.end()
    return found


def _golden(fields: Fields) -> Golden:
    found = Golden(fields.items("images", text_of, 10000), _names(fields, "inputs"))
    fields.end()
    return found
