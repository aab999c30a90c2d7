"""Text of strangers, such as names of classes and of runs, in figures that matplotlib draws."""

from __future__ import annotations

from secateur.export.runner.text import shown

LETTERS = 48
"""At most so many letters of a name."""


def figure_text(text: str, letters: int = LETTERS) -> str:
    r"""The text as one short line that is no formula, whatever it holds.

    >>> print(figure_text("$x^2$"))
    \$x^2\$
    """
    line = shown(text, lines=False)
    return (line if len(line) <= letters else f"{line[: letters - 1]}…").replace("$", r"\$")
