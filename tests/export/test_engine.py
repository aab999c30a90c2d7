"""What every engine checks before its runtime is asked, and its end."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from secateur.core.errors import EngineError
from secateur.export.engine import Arrays, Engine, How
from secateur.export.runner.tensors import DYNAMIC, TensorInfo

GOOD = {"x": np.ones((3, 4), np.float32), "scale": np.float32([2])}


class Doubling(Engine):
    """An engine that multiplies, and notes what it was given."""

    def __init__(self) -> None:
        inputs = (TensorInfo("x", "float32", (DYNAMIC, 4)), TensorInfo("scale", "float32", (1,)))
        super().__init__(inputs, (TensorInfo("y", "float32", (DYNAMIC, 4)),))
        self.given: list[Arrays] = []
        self.runs = 0
        self.closed = 0

    def _infer(self, inputs: Arrays) -> Arrays:
        self.given.append(inputs)
        return {"y": inputs["x"] * inputs["scale"]}

    def _prepare(self, inputs: Arrays, how: How) -> Callable[[], None]:
        self.given.append(inputs)

        def call() -> None:
            self.runs += 1

        return call

    def _close(self) -> None:
        self.closed += 1


def test_outputs_come_by_name() -> None:
    with Doubling() as engine:
        np.testing.assert_array_equal(engine.infer(GOOD)["y"], np.full((3, 4), 2.0))
        call = engine.prepare(GOOD)
        call()
        call()
        assert engine.runs == 2


def test_arrays_reach_the_runtime_in_one_piece() -> None:
    engine = Doubling()
    across = np.ones((4, 3), np.float32).T
    assert not across.flags["C_CONTIGUOUS"]
    engine.infer({**GOOD, "x": across})
    assert engine.given[0]["x"].flags["C_CONTIGUOUS"]


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"x": GOOD["x"]}, r"takes the inputs \['scale', 'x'\], but \['x'\] were given"),
        ({**GOOD, "mask": GOOD["x"]}, r"but \['mask', 'scale', 'x'\] were given"),
        ({**GOOD, "x": np.ones((3, 5), np.float32)}, r"takes x float32 \[batch, 4\], but float32 \[3, 5\] was given"),
        ({**GOOD, "x": np.ones((3, 4), np.float64)}, r"but float64 \[3, 4\] was given"),
        ({**GOOD, "scale": np.ones(2, np.float32)}, r"takes scale float32 \[1\], but float32 \[2\] was given"),
    ],
)
def test_what_does_not_fit_never_reaches_the_runtime(inputs: Arrays, words: str) -> None:
    engine = Doubling()
    for use in (engine.infer, engine.prepare):
        with pytest.raises(EngineError, match=words):
            use(inputs)
    assert engine.given == []


def test_it_is_closed_once_also_after_an_error() -> None:
    engine = Doubling()
    with pytest.raises(ZeroDivisionError), engine:
        _ = 1 / 0
    engine.close()
    assert engine.closed == 1
    for use in (engine.infer, engine.prepare):
        with pytest.raises(EngineError, match="the engine is closed: open it again"):
            use(GOOD)
