"""Number formats: which exist, and how far graphs in them may be from PyTorch."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import nn

from secateur.core.errors import ExportError, near_matches

Precision = Literal["fp32", "fp16", "bf16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
"""The types that a whole graph can be exported in."""

EIGHT_BITS = ("int8", "fp8")
"""The types of the products alone, which a graph gets by calibration (`quantize_onnx`)."""

WITHOUT_KERNELS = ("bf16", "fp8")
"""The types in which ONNX Runtime runs nothing on the CPU."""

TOLERANCES: dict[str, float] = {"fp32": 1e-4, "fp16": 1e-2, "bf16": 5e-2, "int8": 0.25, "fp8": 0.25}
"""How far outputs may be from float32 PyTorch, as a fraction of the output's scale: rounding, some layers deep."""

COSINES: dict[str, float] = {"fp32": 0.9999, "fp16": 0.999, "bf16": 0.99, "int8": 0.95, "fp8": 0.95}
"""The least cosine of outputs with those of float32 PyTorch, over a batch."""

OPSETS: dict[str, int] = {"fp32": 20, "fp16": 20, "bf16": 22}
"""The ONNX opset of each: 20 is the newest that TensorRT 10.3 (JetPack 6) reads; convolutions know bf16 from 22."""


def parse_precision(word: str) -> str:
    """The precision of that name; raises `ExportError` with the choices for any other."""
    known = (*PRECISIONS, *EIGHT_BITS)
    if word in known:
        return word
    raise ExportError(f"the precision {word!r} is not one of {', '.join(known)}{near_matches(word, known)}: choose one")


def parse_type(word: str) -> Precision:
    """The precision of that name that a whole graph can be exported in; raises `ExportError` for any other."""
    for precision in PRECISIONS:
        if parse_precision(word) == precision:
            return precision
    raise ExportError(
        f"{word} needs calibration images: export the model in fp32, and give the graph and the images to "
        "sc.quantize_onnx"
    )


def check_float32(model: nn.Module) -> None:
    """Raises `ExportError` for a model with a floating-point parameter that is not float32."""
    for name, parameter in model.named_parameters():
        if parameter.is_floating_point() and parameter.dtype != torch.float32:
            raise ExportError(
                f"{name} is {parameter.dtype}, but export starts from float32: call .float() on the model and name "
                f"the precision of the graph instead ({', '.join(PRECISIONS)})"
            )
