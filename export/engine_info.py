"""What is known about an engine: written beside it, because engines carry no readable description themselves."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from secateur.core.errors import EngineError
from secateur.core.files import read_json, sha256_file, write_json
from secateur.core.records import parse_record
from secateur.export.build_options import PLAIN, BuildOptions
from secateur.export.preprocessing import Preprocessing
from secateur.export.runner.sensors.conditions import Conditions
from secateur.export.runner.tensors import TensorInfo
from secateur.kernels.trt_features import having

ENGINE_FILE = "model.engine"
INFO_FILE = "engine.json"

ARITHMETIC = frozenset({"fp32", "fp16", "bf16", "fp8", "fp4", "int8", "int4"})
"""The precisions of layers that compute on data; the others handle shapes and indices."""

Source = Literal["network", "builder", "engine", "session"]
PluginKind = Literal["", "ahead of time", "python"]
"""Of secateur's own plugin that an engine holds: none, its PTX, or its name alone (see `kernels.trt_plugin`)."""


@dataclass(frozen=True)
class Profile:
    """The batch sizes that an engine takes (`smallest` to `largest`) and the one that it is tuned for (`usual`)."""

    smallest: int = 1
    usual: int = 1
    largest: int = 8

    def __post_init__(self) -> None:
        if not 1 <= self.smallest <= self.usual <= self.largest:
            raise EngineError(
                f"the batch sizes {self.smallest}, {self.usual}, {self.largest} (smallest, usual, largest) were given, "
                "but they must be 1 or more and must not fall"
            )

    @staticmethod
    def covering(batches: Sequence[int]) -> Profile:
        """The profile that takes all of `batches` and the usual ones, tuned for the first of them."""
        return Profile(1, batches[0], max(*batches, Profile.largest))

    def __str__(self) -> str:
        return f"{self.smallest} to {self.largest}"


CONVERSIONS = frozenset(
    {
        "cast",
        "quantize",
        "dequantize",
        "quantizelinear",
        "dequantizelinear",
        "reformat",
        "reorderinput",
        "reorderoutput",
    }
)
"""Kinds of layers, in any runtime's words, that change the type or the layout of a tensor and nothing else."""


@dataclass(frozen=True)
class Layer:
    """One layer: its name, its kind in the runtime's words, and the number format of what it computes."""

    name: str
    kind: str
    precision: str


@dataclass(frozen=True)
class EngineInfo:
    """An engine: what it was built from, for what, with what, and which layers it has in which precision.

    `precision` is what the ONNX graph declares; `precisions` counts the layers by the precision that was found in
    `layers`. `inspected` says where those come from: the `engine` as the runtime loaded it, the optimised graph of a
    `session`, the `builder`'s report of an engine that no GPU here can load, or the typed `network` that was handed to
    a builder which reports nothing. `attention` counts the layers that are fused attention, and `accumulation` the
    kernels by the type in which they add up, where their names tell it. `tf32` says whether fp32 products may round
    their factors to TensorFloat-32. `preprocessing`, `classes` and `secateur_version` are those that the ONNX graph
    carries. `options` say how far the engine travels, and `on_gpu` which layers of one for DLA fall back to the GPU.
    `plugin` is the kind of secateur's own plugin that it holds; one of `python` loads in secateur alone.
    `conditions` is what the device was like that built it, where that was done over ssh. `folder` is where the files
    are; it is not written.
    """

    target: str
    runtime: str
    runtime_version: str
    platform: str
    compute_capabilities: tuple[str, ...]
    precision: str
    precisions: Mapping[str, int]
    inspected: Source
    tf32: bool
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    profile: Profile
    onnx_sha256: str
    engine_sha256: str
    size_bytes: int
    seconds: float
    layers: tuple[Layer, ...]
    attention: int = 0
    accumulation: Mapping[str, int] = field(default_factory=dict)
    preprocessing: Preprocessing | None = None
    classes: tuple[str, ...] = ()
    secateur_version: str = ""
    options: BuildOptions = PLAIN
    on_gpu: tuple[str, ...] = ()
    plugin: PluginKind = ""
    conditions: Conditions | None = None
    folder: Path = Path()

    @property
    def conversions(self) -> dict[str, int]:
        """How many layers change the type or the layout of a tensor and nothing else, by their kind."""
        return dict(Counter(layer.kind for layer in self.layers if layer.kind.lower() in CONVERSIONS).most_common())

    @property
    def not_portable(self) -> str:
        """Why it loads in no other program than secateur, and what to do, as a sentence; empty where it does."""
        if self.plugin != "python":
            return ""
        return (
            f"it holds secateur's plugin as TensorRT {self.runtime_version} takes it, which secateur with PyTorch and "
            f"pycuda registers alone: build with {having('ahead-of-time plugins')}, or over ssh (`secateur build RUN "
            "--device NAME`), which takes standard operators instead"
        )

    @property
    def path(self) -> Path:
        """The engine file."""
        return self.folder / ENGINE_FILE

    def save(self) -> None:
        """Writes `engine.json` into the folder, atomically."""
        content = dataclasses.asdict(self)
        del content["folder"]
        write_json(self.folder / INFO_FILE, "engine", content)

    @staticmethod
    def load(folder: Path) -> EngineInfo:
        """What `engine.json` in `folder` says; raises `RunError` or `EngineError` for a file that is none."""
        content, remedy = read_json(folder / INFO_FILE, "engine"), "build the engine again"
        if "folder" in content:
            raise EngineError(f"{folder / INFO_FILE} has an unknown key 'folder', which is not written: {remedy}")
        info = parse_record(EngineInfo, content, str(folder / INFO_FILE), EngineError, remedy)
        return dataclasses.replace(info, folder=folder)

    def check_file(self) -> None:
        """Raises `EngineError` when the engine file is absent or is not the one that was described."""
        if not self.path.is_file():
            raise EngineError(f"{self.path} is missing, but {INFO_FILE} describes it: build the engine again")
        if sha256_file(self.path) != self.engine_sha256:
            raise EngineError(
                f"{self.path} is not the file that {INFO_FILE} beside it describes (its SHA-256 differs): "
                "build the engine again"
            )


def count_precisions(layers: Iterable[Layer]) -> dict[str, int]:
    """How many layers run in each precision, the most frequent first."""
    return dict(Counter(layer.precision for layer in layers if layer.precision in ARITHMETIC).most_common())
