"""Bundles made twice: flipped bits are found, a Python with torch is not bare, and the committed result is whole."""

from __future__ import annotations

import csv
import sys
from contextlib import nullcontext
from pathlib import Path

import click
import pytest
from secateur_studies import bundle_bytes
from secateur_studies.bundle_bytes import DEMO, MODELS, PICTURES, SCHEMA, few_pictures, flipped, said_by, table_of

from secateur.core.files import read_json
from secateur.export.bundle.make import write_bundle
from tests.export.conftest import needs_ort
from tests.export.small_bundle import make_contents

ROWS = read_json(Path("benchmarks/results/bundle_bytes.json"), SCHEMA)["rows"]


@needs_ort
def test_a_flipped_bit_is_found_in_every_file_and_flipped_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = tmp_path / "bundle"
    write_bundle(make_contents(tmp_path), bundle)
    before = {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()}
    assert flipped(bundle) == (len(before) - 1, len(before) - 1)
    assert {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()} == before
    monkeypatch.setattr(bundle_bytes, "open_bundle", lambda path: nullcontext())
    assert flipped(bundle) == (0, len(before) - 1)


def test_a_python_with_what_secateur_needs_is_not_bare(tmp_path: Path) -> None:
    with pytest.raises(click.UsageError, match=r"has torch, .*: give one with numpy and ONNX Runtime alone"):
        said_by(Path(sys.executable), tmp_path, ["x.png"])


def test_the_pictures_are_of_classes_from_the_first_to_the_last(tmp_path: Path) -> None:
    (tmp_path / "all" / "images").mkdir(parents=True)
    names = [f"{label}.jpg" for label in range(100)]
    for name in names:
        (tmp_path / "all" / "images" / name).touch()
    lines = ["file,label", *(f"{name},{label}" for label, name in enumerate(names))]
    (tmp_path / "all" / "labels.csv").write_text("\n".join(lines))
    few_pictures(tmp_path / "all", tmp_path / "few")
    with (tmp_path / "few" / "labels.csv").open() as file:
        rows = [(row["file"], int(row["label"])) for row in csv.DictReader(file)]
    assert (len(rows), rows[0], rows[-1]) == (PICTURES, ("0.jpg", 0), ("99.jpg", 99))
    assert {name for name, _ in rows} == {path.name for path in (tmp_path / "few" / "images").iterdir()}


def test_every_bundle_was_the_same_twice_and_verified_without_secateur() -> None:
    assert [row["model"] for row in ROWS] == [*MODELS, DEMO]
    for row in ROWS:
        assert len(row["sha256"]) == 2 and len({*row["sha256"]}) == 1
        assert row["flipped_bits_found"] == row["files"] > 0
        for said in row["pythons"]:
            assert said["outcome"] == "pass" and said["class"] == said["golden_class"]
        assert any(said["checks"]["preprocessing"] == {"pass": 1} for said in row["pythons"])


def test_the_table_says_what_is_not_equal() -> None:
    one = {"model": "m", "archive_bytes": 12_340_000, "files": 7, "flipped_bits_found": 6, "sha256": ["a", "b"]}
    said = [{"python": "3.8.1", "outcome": "pass"}, {"python": "3.9", "outcome": "fail"}]
    _, rows = table_of([{**one, "pythons": said}, {**one, "sha256": ["a", "a"], "pythons": said[1:]}])
    assert rows[0] == ("`m`", "12.3 MB", "other bytes", "6 of 7", "Python 3.8.1")
    assert rows[1][2:] == ("equal bytes", "6 of 7", "none")
