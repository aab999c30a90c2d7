"""The manifest: read as it was written, and why a stage must be done again."""

from __future__ import annotations

from pathlib import Path

import pytest

from secateur.core.errors import RunError
from secateur.core.files import sha256_file
from secateur.pipeline.runs.manifest import Entry, read_manifest, versions, write_manifest

READS = {"plan.json": "a" * 64, "package torch": "2.11", "machine threads": "4"}


@pytest.fixture
def entry(tmp_path: Path) -> Entry:
    """The entry of a stage that has written one file."""
    (tmp_path / "out.json").write_text("{}")
    return Entry("x", {"out.json": sha256_file(tmp_path / "out.json")}, 1.5, versions(), 3, READS)


def test_it_is_read_as_it_was_written(entry: Entry, tmp_path: Path) -> None:
    assert read_manifest(tmp_path) == {}
    write_manifest(tmp_path, {"prune": entry})
    assert read_manifest(tmp_path) == {"prune": entry}
    assert {"python", "torch", "secateur"} <= set(versions())


@pytest.mark.parametrize(
    "text", ["[]", '{"schema": "secateur.manifest/1"}', '{"schema": "secateur.manifest/1", "stages": 3}']
)
def test_a_damaged_one_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(RunError, match=r"manifest\.json"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("reads", "reasons"),
    [
        (READS, ()),
        ({**READS, "plan.json": "b" * 64}, ("plan.json changed",)),
        ({**READS, "machine threads": "2"}, ("machine threads changed from 4 to 2",)),
        ({**READS, "weights": "c" * 64}, ("weights is new",)),
        ({key: value for key, value in READS.items() if "torch" not in key}, ("package torch is no longer read",)),
    ],
)
def test_what_was_read_and_is_not_the_same_is_named(
    entry: Entry, tmp_path: Path, reads: dict[str, str], reasons: tuple[str, ...]
) -> None:
    assert entry.changes(tmp_path, reads) == reasons


def test_outputs_that_were_changed_or_removed_are_named(entry: Entry, tmp_path: Path) -> None:
    (tmp_path / "out.json").write_text("[]")
    assert entry.changes(tmp_path, READS) == ("out.json was changed",)
    (tmp_path / "out.json").unlink()
    assert entry.changes(tmp_path, READS) == ("out.json is missing",)


def test_an_entry_that_does_not_say_what_it_read_is_done_again(entry: Entry, tmp_path: Path) -> None:
    old = Entry("x", entry.outputs, 1.5, {}, 3)
    assert "earlier secateur" in old.changes(tmp_path, READS)[0]
