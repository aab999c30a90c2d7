"""Text of strangers, such as names of classes and messages of devices, as a terminal may show it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TextIO

KEPT = "\n\t\xa0"
"""Characters that count as not printable and yet do no harm."""


def shown(text: str, lines: bool = True) -> str:
    r"""The text with what a terminal would take as a command, or would turn around, as escapes such as `\x1b`.

    Without `lines` it stays one line.
    """
    kept = KEPT if lines else KEPT[1:]
    return "".join(one if one.isprintable() or one in kept else one.encode("unicode_escape").decode() for one in text)


def show(text: str, stream: TextIO) -> None:
    """Prints the text to a stream at once, with escapes for characters that the stream's encoding does not have.

    Raises `OSError` where that fails; what is left of it is then not written at the end of the program either.
    """
    encoding = stream.encoding or "utf-8"
    try:
        print(shown(text).encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)
    except OSError:
        if stream is sys.stdout:
            sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115  # it stays open to the end
        raise


def first_line(error: BaseException) -> str:
    """The first line of an error's text, shortened; the type's name where there is no text."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:240].rstrip(".")
