"""Targets and what is said about words that are none."""

from __future__ import annotations

import pytest

from secateur.core.errors import EngineError
from secateur.export.targets import Target, all_targets, parse_target


@pytest.mark.parametrize("target", all_targets(), ids=str)
def test_names_come_back(target: Target) -> None:
    assert parse_target(str(target)) == target == parse_target(target)
    assert not set(target.folder) & set('<>:"/\\|?*')


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
        ("", "choose one of tensorrt, tensorrt_rtx:sm_75"),
    ],
)
def test_unknown_targets_name_the_choices(word: str, message: str) -> None:
    with pytest.raises(EngineError, match=message):
        parse_target(word)
