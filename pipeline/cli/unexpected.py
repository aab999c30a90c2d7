"""What becomes of an error that nobody expected: its traceback goes to a file, whose place is said in one sentence."""

from __future__ import annotations

import os
import platform
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from secateur.core.errors import RunError
from secateur.core.files import write_text
from secateur.core.state_folder import state_folder
from secateur.core.version import __version__
from secateur.export.runner.text import first_line

UNEXPECTED = 70
"""The exit code, as sysexits.h has it of software that is wrong: 1 would say that a gate failed."""


def report_of(error: BaseException, words: Sequence[str]) -> str:
    """A sentence on an unexpected error and where its traceback is; where no file can be written, the traceback too."""
    found = "".join(traceback.format_exception(error))
    text = (
        f"secateur {__version__}, Python {platform.python_version()}, {platform.platform()}\n{list(words)}\n\n{found}"
    )
    what = f"secateur: this is a mistake in secateur ({type(error).__name__}: {first_line(error)})"
    name = f"secateur-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    for folder in (state_folder, tempfile.gettempdir):
        try:
            path = Path(folder(), name)
            write_text(path, text)
        except (RunError, OSError):  # a folder that is read-only, or none at all
            continue
        return f"{what}: its traceback is in {path}; please report it with that file"
    return f"{what}, and no file could be written for its traceback; please report it:\n{text}"
