"""In which type the products of an engine add up, as the names of their kernels tell it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

_TYPE = r"(?:bf16|tf32|e4m3|e5m2|f16|f32|f64|i4|i8|u8|i32)"
_XMMA = re.compile(rf"_{_TYPE}{{2}}_{_TYPE}(?P<sum>{_TYPE})_{_TYPE}(?:_|$)")
"""NVIDIA's own kernels: `<factors>_<multiplied><added>_<result>`, as in `sm80_xmma_gemm_f16f16_f16f32_f32_tn_n`."""
_GEMM = re.compile(r"(?:^|_)(?P<sum>[hsi])(?:\d{3,6})?gemm(?:_|$)")
"""Those of cuBLAS and CUTLASS: a letter for the sum and the shape of the instruction, as in `s16816gemm`."""

_WORDS = {"f16": "fp16", "f32": "fp32", "f64": "fp64", "i32": "int32", "h": "fp16", "s": "fp32", "i": "int32"}


def accumulation(tactic: str) -> str:
    """The type in which a kernel adds up, in our words; empty where its name does not tell.

    TensorRT names kernels that it took from its libraries. Those that it generated, and those that TensorRT-RTX chooses
    on the GPU when the engine is first run, have no such name.
    """
    found = _XMMA.search(tactic) or _GEMM.search(tactic)
    return _WORDS.get(found["sum"], found["sum"]) if found else ""


def accumulations(tactics: Iterable[str]) -> dict[str, int]:
    """How many kernels add up in each type, the most frequent first, of those whose names tell it."""
    return dict(Counter(word for word in map(accumulation, tactics) if word).most_common())
