"""Silence for a library that talks while it works."""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any, TextIO, cast

LOGGERS = ("torch.onnx", "torch.export", "torch.fx", "torch._export", "torch._dynamo", "onnxscript", "onnx_ir")


@contextmanager
def quiet() -> Iterator[None]:
    """The block warns, logs and prints nothing; what it raises is raised.

    Only the calling thread is silenced: a progress line that another thread draws goes on.
    """
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [logger.level for logger in loggers]
    out, err = cast(TextIO, _Muted(sys.stdout)), cast(TextIO, _Muted(sys.stderr))
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)
        with warnings.catch_warnings(), redirect_stdout(out), redirect_stderr(err):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


class _Muted:
    """A stream that drops what the thread that made it writes and passes on the rest."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._thread = threading.get_ident()

    def write(self, text: str) -> int:
        return len(text) if threading.get_ident() == self._thread else self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
