"""Whatever a name holds, a figure shows it as one short line that is no formula."""

from __future__ import annotations

import pytest
from matplotlib.cbook import is_math_text
from matplotlib.figure import Figure

from secateur.benchmarks.figure_text import LETTERS, figure_text
from secateur.export.runner.text import shown
from tests.hostile import HOSTILE


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_is_a_short_line_and_no_formula(name: str) -> None:
    text = Figure().text(0, 0, figure_text(name))
    drawn, math = text._preprocess_math(text.get_text())  # as matplotlib reads it
    line = shown(name, lines=False)
    assert not math and not is_math_text(text.get_text())
    assert drawn == line if len(line) <= LETTERS else drawn == f"{line[: LETTERS - 1]}…"
    assert drawn.isprintable()
