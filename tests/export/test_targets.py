"""Targets and what is said about words that are none."""

from __future__ import annotations

import pytest

from secateur.core.errors import EngineError, ExportError
from secateur.export.precision import PRECISIONS
from secateur.export.targets import (
    Target,
    TypedTarget,
    all_targets,
    check_bits,
    parse_target,
    parse_typed_target,
    typed_targets,
)


@pytest.mark.parametrize("target", all_targets(), ids=str)
def test_names_come_back(target: Target) -> None:
    assert parse_target(str(target)) == target == parse_target(target)
    assert not set(target.folder) & set('<>:"/\\|?*')


def test_only_gpus_have_a_capability() -> None:
    assert parse_target("tensorrt_rtx:sm_86").capability == "sm_86"
    assert {parse_target(name).capability for name in ("tensorrt", "tensorrt:dla", "onnxruntime:cpu")} == {""}


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_dla_computes_in_fp16(precision: str) -> None:
    check_bits(parse_target("tensorrt:dla"), "fp16")
    with pytest.raises(EngineError, match=rf"computes in fp16, and {precision} was asked for"):
        check_bits(parse_target("tensorrt:dla"), precision)


def test_folders_differ() -> None:
    assert len({target.folder for target in all_targets()}) == len(all_targets())
    assert parse_target("tensorrt_rtx:sm_86").folder == "tensorrt_rtx-sm_86"


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("tensort", "did you mean 'tensorrt'"),
        ("onnxruntime:cpus", "onnxruntime has onnxruntime:cpu, onnxruntime:cuda"),
        ("onnxruntime", "onnxruntime has onnxruntime:cpu"),
        ("tensorrt:sm_86", "tensorrt has tensorrt"),
        ("tensorrt_rtx", "tensorrt_rtx has tensorrt_rtx:sm_75"),
        ("tensorrt_rtx:sm_87", "use the target 'tensorrt' on the device itself"),
        ("", "choose one of tensorrt, tensorrt:dla, tensorrt_rtx:sm_75"),
    ],
)
def test_unknown_targets_name_the_choices(word: str, message: str) -> None:
    with pytest.raises(EngineError, match=message):
        parse_target(word)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_precision_goes_with_the_name_unless_it_is_fp32(precision: str) -> None:
    goal = TypedTarget(parse_target("tensorrt_rtx:sm_86"), precision)
    word, folder = ("", "") if precision == "fp32" else (f"@{precision}", f".{precision}")
    assert (str(goal), goal.folder) == (f"tensorrt_rtx:sm_86{word}", f"tensorrt_rtx-sm_86{folder}")
    assert parse_typed_target(str(goal)) == goal == parse_typed_target(goal)
    assert parse_typed_target(goal.target) == TypedTarget(goal.target)


def test_a_precision_that_is_none_or_has_no_graph_is_refused() -> None:
    with pytest.raises(ExportError, match="'fp13' is not one of"):
        parse_typed_target("onnxruntime:cpu@fp13")
    with pytest.raises(EngineError, match="'torch:cpu@fp16' names a precision, but torch:cpu runs the module as it is"):
        parse_typed_target("torch:cpu@fp16")
    with pytest.raises(EngineError, match="did you mean 'tensorrt'"):
        parse_typed_target("tensort@fp16")


def test_every_target_goes_with_every_precision_but_modules_with_their_own() -> None:
    found = typed_targets(["onnxruntime:cpu", "torch:cpu", "onnxruntime:cpu"], ["fp16", "fp32"])
    assert [str(goal) for goal in found] == ["onnxruntime:cpu@fp16", "onnxruntime:cpu", "torch:cpu"]


def test_eight_bits_need_a_gpu_that_has_them() -> None:
    for name, precision, here in (
        ("tensorrt", "int8", "sm_87"),
        ("tensorrt", "fp8", "sm_89"),
        ("tensorrt", "fp8", "sm_110"),
        ("tensorrt", "fp16", "sm_70"),
        ("tensorrt", "int8", ""),
        ("onnxruntime:cpu", "fp8", ""),
        ("tensorrt_rtx:sm_75", "int8", ""),
    ):
        check_bits(parse_target(name), precision, here)
    with pytest.raises(
        EngineError, match=r"tensorrt has no int8 \(sm_70; GPUs multiply int8 from sm_72 on\): leave int8"
    ):
        check_bits(parse_target("tensorrt"), "int8", "sm_70")
    with pytest.raises(EngineError, match=r"tensorrt has no fp8 \(sm_87; "):
        check_bits(parse_target("tensorrt"), "fp8", "sm_87")  # a Jetson Orin
    with pytest.raises(EngineError, match="tensorrt_rtx:sm_80 has no fp8"):
        check_bits(parse_target("tensorrt_rtx:sm_80"), "fp8")
