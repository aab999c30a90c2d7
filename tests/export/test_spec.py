from __future__ import annotations

import pytest

from secateur.core.errors import SecateurError
from secateur.export.quantize.spec import QuantizeSpec
from secateur.export.spec import ExportSpec


def test_what_can_be_exported() -> None:
    ExportSpec()
    ExportSpec(("fp32", "fp16", "bf16"), ("tensorrt", "tensorrt_rtx:sm_86", "onnxruntime:cpu"))
    assert not ExportSpec(targets=()).quantizes
    assert ExportSpec(("int8", "fp8"), ("tensorrt", "tensorrt_rtx:sm_89", "onnxruntime:cpu")).quantizes
    assert [ExportSpec((word,)).calibrates for word in ("fp32", "fp16", "bf16", "int8")] == [False, True, False, True]


def test_what_is_not_in_eight_bits_has_the_type_that_the_targets_run_fastest() -> None:
    def rest(targets: tuple[str, ...], asked: QuantizeSpec) -> str:
        return ExportSpec(("int8",), targets, asked).quantization.rest

    assert rest(("onnxruntime:cpu",), QuantizeSpec()) == "fp32"
    assert rest(("onnxruntime:cpu", "tensorrt_rtx:sm_86"), QuantizeSpec()) == "fp16"
    assert rest(("tensorrt_rtx:sm_86",), QuantizeSpec(rest="bf16")) == "bf16"


def test_pairs_are_placed_for_tensorrt_where_a_target_is() -> None:
    def runtime(targets: tuple[str, ...], asked: QuantizeSpec) -> str:
        return ExportSpec(("int8",), targets, asked).quantization.runtime

    assert runtime(("onnxruntime:cpu",), QuantizeSpec()) == runtime((), QuantizeSpec()) == "onnxruntime"
    assert runtime(("onnxruntime:cpu", "tensorrt_rtx:sm_86"), QuantizeSpec()) == "tensorrt"
    assert runtime(("onnxruntime:cpu",), QuantizeSpec(runtime="tensorrt")) == "tensorrt"


@pytest.mark.parametrize(
    ("precisions", "words"),
    [(("fp13",), "fp32, fp16, bf16"), ((), "one or more"), (("fp16", "fp16"), "each once"), (("fp32", "int9"), "int9")],
)
def test_other_precisions_are_refused(precisions: tuple[str, ...], words: str) -> None:
    with pytest.raises(SecateurError, match=rf"^export\.precisions.*{words}"):
        ExportSpec(precisions)


def test_a_target_without_eight_bits_is_refused() -> None:
    ExportSpec(("int8",), ("tensorrt_rtx:sm_75",))
    with pytest.raises(SecateurError, match=r"^export\.targets: tensorrt_rtx:sm_86 has no fp8 .*from sm_89 on"):
        ExportSpec(("fp32", "fp8"), ("tensorrt_rtx:sm_89", "tensorrt_rtx:sm_86"))
    with pytest.raises(SecateurError, match=r"^export\.targets: .*'tensorrt_rtx:sm_70' is not known"):
        ExportSpec(("int8",), ("tensorrt_rtx:sm_70",))


def test_other_targets_are_refused() -> None:
    with pytest.raises(SecateurError, match=r"^export\.targets.*'onnxruntime:gpu'.*cpu, onnxruntime:cuda"):
        ExportSpec(targets=("onnxruntime:cpu", "onnxruntime:gpu"))


def test_a_limit_needs_eight_bits_and_is_no_gain() -> None:
    assert ExportSpec(("fp32", "int8"), max_drop=0.5).max_drop == 0.5
    with pytest.raises(
        SecateurError, match=r"^export\.max_drop is 0.5, but limits graphs in 8 bits, .*add int8 or fp8"
    ):
        ExportSpec(("fp32", "fp16"), max_drop=0.5)
    with pytest.raises(SecateurError, match=r"^export\.max_drop is -1"):
        ExportSpec(("int8",), max_drop=-1.0)
