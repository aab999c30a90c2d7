"""What each version of TensorRT and TensorRT-RTX can do: the one table that code asks, instead of comparing versions.

Sources: NVIDIA's release notes and support matrices, 10.3 to 11.4.1. TensorRT-RTX counts its own versions; what is said
of it was seen with 1.7.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import ModuleType
from typing import Literal

from secateur.core.errors import EngineError

Feature = Literal[
    "ahead-of-time plugins",
    "attention operator",
    "build routes",
    "DLA",
    "hardware-compatible engines",
    "padded heads",
    "same-capability engines",
    "timing cache",
    "version-compatible engines",
    "weak typing",
]
Version = tuple[int, ...]
Span = tuple[Version, Version | None]
"""From a version on, up to another one that has it no more; None where all newer ones have it."""

NAMES = {"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT-RTX"}
OLDEST: Mapping[str, Version] = {"tensorrt": (10, 3), "tensorrt_rtx": (1, 1)}
"""The oldest versions that engines are built with; TensorRT's is that of JetPack 6."""

FEATURES: Mapping[Feature, Mapping[str, tuple[Span, ...]]] = {
    "ahead-of-time plugins": {"tensorrt": (((10, 9), None),)},
    "attention operator": {"tensorrt": (((10, 14), None),), "tensorrt_rtx": (((1, 7), None),)},
    "build routes": {"tensorrt": (((11, 1), None),), "tensorrt_rtx": (((1, 7), None),)},
    "DLA": {"tensorrt": (((10, 3), (10, 8)), ((11, 4, 1), None))},
    "hardware-compatible engines": {"tensorrt": (((10, 3), None),)},
    "padded heads": {"tensorrt": (((10, 14), None),)},
    "same-capability engines": {"tensorrt": (((10, 9), None),)},
    "timing cache": {"tensorrt": (((10, 3), None),)},
    "version-compatible engines": {"tensorrt": (((10, 3), None),)},
    "weak typing": {"tensorrt": (((10, 3), (11,)),)},
}
"""Timing caches do nothing in TensorRT-RTX, and for version-compatible engines it has a flag but no lean runtime. DLA
came back with 11.4.1, on AGX Orin with JetPack 7.2.2.
"""


def has(trt: ModuleType, feature: Feature) -> bool:
    """Whether the version of `tensorrt` or `tensorrt_rtx` that is loaded has the feature."""
    found, spans = version_of(trt), FEATURES[feature].get(runtime(trt), ())
    return any(found >= since and (before is None or found < before) for since, before in spans)


def require(trt: ModuleType, feature: Feature, what: str) -> None:
    """Raises `EngineError` where `what` needs a feature that the loaded version lacks; it names those that have it."""
    if not has(trt, feature):
        name = NAMES[runtime(trt)]
        raise EngineError(f"{what} needs {feature}, which {name} {trt.__version__} lacks: {having(feature)} has it")


def features(trt: ModuleType) -> dict[str, bool]:
    """All features, each with whether the loaded version has it."""
    return {feature: has(trt, feature) for feature in FEATURES}


def having(feature: Feature) -> str:
    """The versions that have a feature, in words: `TensorRT 10.9 and newer`."""
    return " or ".join(
        f"{NAMES[name]} {' or '.join(map(_span, spans))}" for name, spans in FEATURES[feature].items() if spans
    )


def version_of(trt: ModuleType) -> Version:
    """The version of a runtime as numbers."""
    return tuple(int(part) for part in re.findall(r"\d+", str(trt.__version__))[:3])


def runtime(trt: ModuleType) -> str:
    """`tensorrt` or `tensorrt_rtx`."""
    return trt.__name__.partition(".")[0]


def dotted(version: Version) -> str:
    """A version as text."""
    return ".".join(map(str, version))


def _span(span: Span) -> str:
    since, before = span
    return f"{dotted(since)} and newer" if before is None else f"from {dotted(since)} to before {dotted(before)}"
