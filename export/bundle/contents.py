"""What goes into a bundle, handed over by whoever has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray

from secateur.export.engine_info import EngineInfo
from secateur.export.onnx_info import OnnxInfo
from secateur.export.runner.evidence import Evidence
from secateur.export.runner.preprocess import Preprocessing

Activation = Literal["softmax", "sigmoid", "identity", "none"]


@dataclass(frozen=True)
class GraphOf:
    """An ONNX graph of the pruned model, and where it is there, the one of the dense model in the same precision."""

    pruned: OnnxInfo
    dense: OnnxInfo | None = None


@dataclass(frozen=True)
class EngineOf:
    """An engine of the pruned model, and where it is there, the one of the dense model for the same target.

    `device` names the device over ssh that built both; it is empty for what was built where the run is.
    """

    pruned: EngineInfo
    dense: EngineInfo | None = None
    device: str = ""


@dataclass(frozen=True)
class Picture:
    """An image as it is stored, and the ending of its file."""

    content: bytes
    suffix: str


@dataclass(frozen=True)
class Contents:
    """All of it; `inputs` are what the pictures become, by the names of the graphs' inputs, `[N, ...]` each.

    The `activation` makes of the first output a number for each of the `classes`, where it has one of each. `licences`
    are texts by the name of their file, and `beside` other files by their names, which nothing checks but their
    checksums.
    """

    model: str
    classes: Sequence[str]
    preprocessing: Preprocessing
    graphs: Sequence[GraphOf]
    engines: Sequence[EngineOf]
    pictures: Sequence[Picture]
    inputs: Mapping[str, NDArray[Any]]
    evidence: Evidence
    environment: Mapping[str, Any]
    licences: Mapping[str, str]
    activation: Activation = "softmax"
    beside: Mapping[str, Path] = field(default_factory=dict)


Source = Path | bytes
"""The content of a file: where it lies, or itself."""
