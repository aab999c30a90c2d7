"""Silence for one thread, and only while it is asked for."""

from __future__ import annotations

import logging
import sys
import threading
import warnings

import pytest

from secateur.export.quiet import quiet


def test_the_block_says_nothing_and_other_threads_go_on(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with quiet():
        print("chatter")
        print("more", file=sys.stderr)
        warnings.warn("careful", stacklevel=1)
        logging.getLogger("torch.onnx").error("a dump")
        drawing = threading.Thread(target=lambda: print("progress"))
        drawing.start()
        drawing.join()
    print("after")
    assert caplog.records == []
    assert capsys.readouterr() == ("progress\nafter\n", "")


def test_levels_and_streams_come_back_after_an_error() -> None:
    logger = logging.getLogger("torch.onnx")
    before = (logger.level, sys.stdout, sys.stderr)
    with pytest.raises(KeyError), quiet():
        raise KeyError("x")
    assert (logger.level, sys.stdout, sys.stderr) == before
