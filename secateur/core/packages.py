"""The packages that decide a result, and their versions here."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata

PACKAGES = ("secateur", "torch", "timm", "numpy", "onnx", "onnxruntime", "tensorrt", "tensorrt_rtx", "pycuda")
"""Those whose versions are recorded beside every result, by the names that they are imported by."""
DISTRIBUTIONS: Mapping[str, tuple[str, ...]] = {
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "tensorrt_rtx": ("tensorrt-rtx",),
}
"""What brings a package, where that has another name."""


def version_of(package: str) -> str | None:
    """The version of an installed package; None where it is absent. Nothing is imported for it."""
    for name in DISTRIBUTIONS.get(package, (package,)):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None


def versions() -> dict[str, str | None]:
    """The versions of `PACKAGES`; None for those that are absent."""
    return {name: version_of(name) for name in PACKAGES}
