"""TensorRT and TensorRT-RTX: two packages with one interface, imported by the name of a target's runtime."""

from __future__ import annotations

import importlib
import re
from types import ModuleType
from typing import Any

from secateur.core.errors import EngineError, MissingPackageError
from secateur.kernels.trt_features import NAMES, OLDEST, dotted, version_of

_EXTRAS = {"tensorrt": "gpu", "tensorrt_rtx": "rtx"}

_PRECISIONS = {
    "FLOAT": "fp32",
    "HALF": "fp16",
    "BF16": "bf16",
    "FP8": "fp8",
    "INT8": "int8",
    "UINT8": "uint8",
    "INT4": "int4",
    "FP4": "fp4",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
}


def import_runtime(runtime: str) -> ModuleType:
    """The module `tensorrt` or `tensorrt_rtx`.

    Raises `MissingPackageError` where it is not installed and `EngineError` where it does not load or is too old.
    """
    try:
        module = importlib.import_module(runtime)
    except ModuleNotFoundError as error:
        raise MissingPackageError(runtime, f"the target {runtime!r}", _EXTRAS[runtime]) from error
    except (ImportError, OSError, RuntimeError) as error:  # the wheel is there, but a library that it loads is not
        raise EngineError(
            f"{NAMES[runtime]} is installed but does not load ({error}): install it again with "
            f"`pip install --force-reinstall 'secateur[{_EXTRAS[runtime]}]'`"
        ) from error
    if version_of(module) < OLDEST[runtime]:
        oldest = dotted(OLDEST[runtime])
        raise EngineError(f"{NAMES[runtime]} {module.__version__} is installed, but {oldest} or newer is needed")
    return module


def precision_of(dtype: Any) -> str:
    """Our word for a `DataType` of either module; its own name in lower case where we have none."""
    return _PRECISIONS.get(dtype.name, str(dtype.name).lower())


def make_logger(trt: ModuleType) -> Any:
    """A logger for `trt` that prints nothing and keeps the errors; `logger.sentences()` gives them as one text.

    `logger.report` is what the builder of TensorRT-RTX says about the layers of an engine; empty before.
    """

    class Collector(trt.ILogger):  # type: ignore[name-defined, misc]  # the base class is known at run time only
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []
            self.report = ""

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.errors.append(message)
            elif "LayerType: " in message:
                self.report = message

        def sentences(self) -> str:
            kept = dict.fromkeys(clean_message(message) for message in self.errors)
            return "; ".join(kept) or "the runtime gives no reason"

    return Collector()


def clean_message(message: str) -> str:
    """A message of the runtime without its call sites, source lines and numbers of error classes."""
    text = " ".join(message.split())
    text = re.sub(r"\s*\(?\bIn \w+ at \S+:\d+", "", text)
    text = re.sub(r"^(\[\S+::\d+\]|I?[A-Z]\w+::\w+:?)\s*", "", text)
    text = re.sub(r"^Error Code \d+:\s*", "", text)
    text = re.sub(r"\[\w+\.(cpp|h):\d+: \w+\]\s*", "", text)
    text = re.sub(r"^Myelin \((.*)\)$", r"\1", text)
    while text.count(")") > text.count("(") and text.endswith(")"):
        text = text[:-1]
    return text.strip(" .") or message


def numpy_name(trt: ModuleType, dtype: Any) -> str:
    """The numpy name of a `DataType`, `bfloat16` for the one that numpy itself lacks."""
    if dtype == getattr(trt, "bfloat16", None):
        return "bfloat16"
    try:
        return str(trt.nptype(dtype).__name__)
    except (TypeError, AttributeError) as error:
        raise EngineError(
            f"a tensor of the engine has the type {dtype.name}, which numpy does not know: cast it in the ONNX graph"
        ) from error
