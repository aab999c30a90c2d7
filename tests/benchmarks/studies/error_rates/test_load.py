"""Work beside a measurement starts, burns, and ends with the block."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from secateur_studies.error_rates.load import KINDS, load


def others() -> list[str]:
    """The kinds of load that run now."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:  # it has ended
            continue
        if b"secateur_studies.error_rates.load" in words:
            found.append(words[-3].decode())
    return found


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="processes are listed by /proc")
@pytest.mark.parametrize("kind", ["none", *KINDS])
def test_it_works_while_the_block_runs(kind: str) -> None:
    before = others()
    with load(kind):
        end = time.monotonic() + 5
        wanted = {"none": 0, "bursts": 2}.get(kind, 1)
        while (found := others().count(kind)) < wanted and time.monotonic() < end:
            time.sleep(0.01)
        assert found == wanted
    assert others() == before
