from __future__ import annotations

import pytest

from secateur.core.errors import SecateurError
from secateur.export.spec import ExportSpec


def test_what_can_be_exported() -> None:
    ExportSpec()
    ExportSpec(("fp32", "fp16", "bf16"), ("tensorrt", "tensorrt_rtx:sm_86", "onnxruntime:cpu"))
    ExportSpec(targets=())


@pytest.mark.parametrize(
    ("precisions", "words"),
    [(("fp13",), "fp32, fp16, bf16"), ((), "one or more"), (("fp16", "fp16"), "each once"), (("fp32", "int9"), "int9")],
)
def test_other_precisions_are_refused(precisions: tuple[str, ...], words: str) -> None:
    with pytest.raises(SecateurError, match=rf"^export\.precisions.*{words}"):
        ExportSpec(precisions)


def test_other_targets_are_refused() -> None:
    with pytest.raises(SecateurError, match=r"^export\.targets.*'onnxruntime:gpu'.*cpu, onnxruntime:cuda"):
        ExportSpec(targets=("onnxruntime:cpu", "onnxruntime:gpu"))
