"""A history on disk: added once, never replaced, and read in the order of time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from secateur.benchmarks.history.store import add_entry, read_history
from secateur.core.errors import BenchError, RunError
from tests.benchmarks.history.entries import entries, measured


def test_the_same_may_be_added_again_and_another_may_not(tmp_path: Path) -> None:
    entry = measured()
    path, new = add_entry(entry, tmp_path)
    assert (path, new) == (tmp_path / "ci" / "half" / f"{'a' * 40}.json", True)
    before = path.read_bytes()
    assert add_entry(replace(entry, time="2027-01-01T00:00:00+00:00"), tmp_path) == (path, False)
    with pytest.raises(BenchError, match="another result of that commit: remove it, or give this one another --name"):
        add_entry(replace(entry, values=entry.values[1:]), tmp_path)
    assert path.read_bytes() == before
    assert read_history([tmp_path]) == [entry]


def test_a_history_is_read_from_folders_and_files_the_oldest_first(tmp_path: Path) -> None:
    days = entries([1.0, 2.0, 3.0])
    for day in reversed(days):
        add_entry(day, tmp_path)
    path, _ = add_entry(measured("other"), tmp_path / "more")
    assert [entry.commit for entry in read_history([tmp_path, path, tmp_path])] == [
        *(day.commit for day in days[:1]),
        "a" * 40,
        *(day.commit for day in days[1:]),
    ]


def test_what_is_no_history_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="holds no history: add results with `secateur history add RUN --to"):
        read_history([tmp_path])
    with pytest.raises(RunError, match="cannot read"):
        read_history([tmp_path / "absent.json"])
    path, _ = add_entry(measured(), tmp_path / "a")
    path.write_text(path.read_text().replace('"machine": "ci"', '"machine": "a b"'))
    with pytest.raises(BenchError, match="the machine is 'a b'"):
        read_history([path])
    one, _ = add_entry(measured(), tmp_path / "b")
    two, _ = add_entry(replace(measured(), values=()), tmp_path / "c")
    with pytest.raises(BenchError, match="another result of half"):
        read_history([one, two])
    (tmp_path / "file").write_text("")
    with pytest.raises(BenchError, match="cannot be made a folder"):
        add_entry(measured(), tmp_path / "file")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"time": "yesterday"}, "the time is 'yesterday', which is none by ISO 8601"),
        ({"value": 0.0}, "speedup is 0.0 "),
        ({"low": 0.0}, "which cannot be"),
        ({"low": 5.0, "high": -1.0}, r"\[5.0, -1.0\], which cannot be"),
    ],
)
def test_an_entry_that_cannot_be_is_refused_with_its_file(changes: dict[str, Any], says: str, tmp_path: Path) -> None:
    entry = measured()
    if "time" in changes:
        entry = replace(entry, **changes)
    else:
        entry = replace(entry, values=(replace(entry.values[0], **changes), *entry.values[1:]))
    path, _ = add_entry(entry, tmp_path)
    with pytest.raises(BenchError, match=says) as caught:
        read_history([tmp_path])
    assert str(path) in str(caught.value)
