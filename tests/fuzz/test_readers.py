"""Damaged files through the readers of what others have made: a sentence of ours each."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from secateur_studies import reader_fuzz
from secateur_studies.reader_fuzz import KINDS, one

CASES = 500
SEEDS = (380, 1702, 8002)
"""Cases that ended in a traceback once: a path too long for any file, and pickles whose damage hides what they name."""


def test_every_damage_ends_in_a_sentence() -> None:
    ends = [one(seed) for seed in (*range(CASES), *SEEDS)]
    assert [end for end in ends if end.end == "raised" or (end.end == "refused" and not end.said)] == []
    refused = Counter(end.kind for end in ends if end.end == "refused")
    assert {*refused} == {*KINDS}


@pytest.mark.parametrize("place", range(len(KINDS)), ids=list(KINDS))
def test_what_is_whole_is_read(place: int) -> None:
    assert one(place, damage=False).end == "accepted"


def test_planted_faults_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(folder: Path) -> None:
        raise KeyError("a traceback")

    def endless(folder: Path) -> None:
        time.sleep(5)

    monkeypatch.setattr(reader_fuzz, "LONGEST_SECONDS", 0.05)
    for read, said in ((careless, "KeyError: 'a traceback'"), (endless, "TooLongError: not read within 0.05 s")):
        monkeypatch.setitem(KINDS, "recipe", replace(KINDS["recipe"], read=read))
        assert (one(0).end, one(0).said) == ("raised", said)
