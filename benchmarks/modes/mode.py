"""How a model is timed: the modes by name. Times of two modes are of different things and are never compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from secateur.core.errors import BenchError, near_matches
from secateur.export.targets import Target

MODES: Mapping[str, str] = {
    "hot": "each timed run follows another one of the same side, inputs and outputs where the target has them",
    "cold": "the caches are overwritten before each timed run",
    "copies": "the inputs go to the GPU and the outputs come back within the time",
    "graph": "the launches on a GPU are captured once and replayed as a CUDA graph",
    "concurrent": "concurrent:N starts N runs at once, each on a session of its own; the time until the last is done",
    "throughput": "throughput:N keeps N sessions busy, run after run; the time in which each does one",
}
"""What is within a time, by the name of the mode."""
COUNTED = ("concurrent", "throughput")
MOST = 64
"""Sessions at once; more would measure the memory of the machine."""


@dataclass(frozen=True)
class Mode:
    """A mode of `MODES`; `sessions` run at once. Its word is the one of recipes, options and keys: `concurrent:4`."""

    name: str = "hot"
    sessions: int = 1

    def __str__(self) -> str:
        return f"{self.name}:{self.sessions}" if self.name in COUNTED else self.name

    def of(self, goal: str) -> str:
        """What is measured on a goal: its name alone where it is hot, else with the mode (`onnxruntime:cpu@cold`)."""
        return goal if self == HOT else f"{goal}@{self}"

    def why_not(self, target: Target) -> str:
        """One sentence on why this mode is nothing for a target; empty where it is."""
        if self.name == "copies" and target.device == "cpu":
            return f"{target} has its inputs and outputs in the memory of the CPU: nothing is copied, measure it hot"
        if self.name == "graph" and (target.device == "cpu" or target.runtime == "onnxruntime"):
            return f"{target} replays no CUDA graph: measure torch:cuda or an engine of TensorRT in that mode"
        return ""


HOT = Mode()


def parse_mode(word: str) -> Mode:
    """The mode of a word such as `hot` or `concurrent:4`; raises `BenchError` with the choices for any other."""
    name, apart, count = str(word).partition(":")
    choices = [f"{one}:N" if one in COUNTED else one for one in MODES]
    if name not in MODES:
        raise BenchError(
            f"the mode {word!r} is not known{near_matches(str(word), MODES)}: choose one of {', '.join(choices)}"
        )
    if name not in COUNTED:
        if apart:
            raise BenchError(f"the mode {word!r} has a number, but {name} runs one session: give {name}")
        return Mode(name)
    least = 2 if name == "concurrent" else 1
    if not (count.isascii() and count.isdigit() and least <= int(count) <= MOST):
        raise BenchError(f"the mode {word!r} needs a number of sessions from {least} to {MOST}, such as {name}:4")
    return Mode(name, int(count))


def check_modes(words: Sequence[str]) -> None:
    """Raises `BenchError` unless there are words of modes, each once."""
    if not words or len(set(words)) < len(words):
        raise BenchError(f"got the modes {list(words)}: give one or more, each once, such as [hot, cold]")
    for word in words:
        parse_mode(word)


def mode_of(goal: str) -> Mode:
    """The mode in what `Mode.of` gave."""
    word = goal.rpartition("@")[2]
    return parse_mode(word) if "@" in goal and word.partition(":")[0] in MODES else HOT


def without_mode(goal: str) -> str:
    """The target and the precision in what `Mode.of` gave."""
    return goal if mode_of(goal) == HOT else goal.rpartition("@")[0]
