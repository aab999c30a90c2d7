"""Modes: their words, the targets that have them, and keys of which no two agree."""

from __future__ import annotations

import pytest

from secateur.benchmarks.gate import judge
from secateur.benchmarks.limits import Limits
from secateur.benchmarks.modes.mode import HOT, MODES, Mode, mode_of, parse_mode, without_mode
from secateur.core.errors import BenchError
from secateur.export.targets import parse_target
from tests.benchmarks.samples import result

WORDS = ("hot", "cold", "copies", "graph", "concurrent:2", "concurrent:4", "throughput:1", "throughput:64")


def test_every_mode_has_a_word_and_a_key_of_its_own() -> None:
    modes = [parse_mode(word) for word in WORDS]
    assert {mode.name for mode in modes} == set(MODES)
    assert [str(mode) for mode in modes] == list(WORDS)
    assert [mode.sessions for mode in modes] == [1, 1, 1, 1, 2, 4, 1, 64]
    goals = [mode.of("tensorrt@fp16") for mode in modes]
    assert len(set(goals)) == len(WORDS) and goals[0] == "tensorrt@fp16"
    assert [mode_of(goal) for goal in goals] == modes
    assert mode_of("onnxruntime:cpu") == mode_of("torch:cuda") == HOT


def test_a_gate_compares_no_two_modes() -> None:
    cold, hot = (result(targets={key: 1}) for key in ("torch:cpu@cold", "torch:cpu"))
    assert judge(cold, cold, Limits()).outcome != "fail"
    with pytest.raises(BenchError, match="the baseline was measured on torch:cpu with a batch of 1, the candidate was"):
        judge(cold, hot, Limits())
    with pytest.raises(BenchError, match="was not measured on torch:cpu"):
        judge(cold, None, Limits(targets=("torch:cpu",)))


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("warm", "'warm' is not known: choose one of hot, cold, copies, graph, concurrent:N, throughput:N"),
        ("cool", "did you mean 'cold'"),
        ("cold:2", "cold runs one session: give cold"),
        ("concurrent", "needs a number of sessions from 2 to 64, such as concurrent:4"),
        ("concurrent:1", "from 2 to 64"),
        ("throughput:0", "from 1 to 64"),
        ("throughput:65", "from 1 to 64"),
        ("throughput:two", "from 1 to 64"),
        ("throughput:²", "from 1 to 64"),
        ("", "'' is not known"),
    ],
)
def test_other_words_are_refused(word: str, says: str) -> None:
    with pytest.raises(BenchError, match=says):
        parse_mode(word)


def test_a_mode_is_for_targets_that_have_it() -> None:
    here = {name: bool(Mode(name).why_not(parse_target("torch:cpu"))) for name in MODES}
    assert [name for name, refused in here.items() if refused] == ["copies", "graph"]
    gpus = ("torch:cuda", "tensorrt", "tensorrt_rtx:sm_86", "onnxruntime:cuda")
    assert [bool(Mode("graph").why_not(parse_target(name))) for name in gpus] == [False, False, False, True]
    assert not any(Mode("copies").why_not(parse_target(name)) for name in gpus)


def test_what_was_measured_is_named_without_its_mode() -> None:
    goals = ("torch:cpu", "onnxruntime:cpu@fp16", "tensorrt@int8")
    assert [without_mode(Mode("cold").of(goal)) for goal in goals] == list(goals)
    assert [without_mode(goal) for goal in goals] == list(goals)
