"""Damaged bundles: a sentence each, nothing left behind, and what a checksum covers is refused."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from secateur_studies import bundle_fuzz
from secateur_studies.bundle_fuzz import KINDS, lessened, one, scrambled

from secateur.export.bundle.make import write_bundle
from secateur.export.runner.errors import RunnerError
from tests.export.conftest import needs_ort
from tests.export.small_bundle import make_contents

pytestmark = needs_ort
CASES = 56


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz")
    write_bundle(make_contents(folder), folder / "bundle")
    lessened(folder / "bundle")
    return folder / "bundle"


def test_every_damage_ends_in_a_sentence(small: Path) -> None:
    ends = [one(small, seed) for seed in range(CASES)]
    assert [end for end in ends if end.end == "raised" or not end.said] == []
    found = Counter((end.kind, end.end) for end in ends)
    assert found["members", "refused"] == sum(end.kind == "members" for end in ends)
    for kind in KINDS:
        assert found[kind, "refused"] + found[kind, "fail"] > 0


def test_a_planted_fault_is_seen(small: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def careless(*arguments: object, **options: object) -> None:
        raise KeyError("a traceback")

    monkeypatch.setattr(bundle_fuzz, "verify", careless)
    assert one(small, 0).end == "raised"

    def untidy(path: Path, **options: object) -> None:
        path.with_name("outside").touch()
        raise RunnerError("refused")

    monkeypatch.setattr(bundle_fuzz, "verify", untidy)
    with pytest.raises(AssertionError, match="left files behind"):
        one(small, 2)


def test_bytes_are_changed() -> None:
    rng = np.random.default_rng(0)
    assert sum(scrambled(bytes(range(200)), rng) == bytes(range(200)) for _ in range(100)) < 5
    assert scrambled(b"", rng) == b""
