"""Archives whose bytes follow from their contents, and that other programs unpack."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from secateur.core.errors import ExportError
from secateur.export.bundle.archive import write_archive
from secateur.export.bundle.contents import Source


@pytest.mark.parametrize("suffix", [".tar", ".tar.zst"])
def test_the_same_files_give_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    found = []
    for number, mode in enumerate((0o600, 0o755)):
        path = tmp_path / f"{number}.bin"
        path.write_bytes(b"weights" * 1000)
        path.chmod(mode)
        files: dict[str, Source] = {"MANIFEST.json": b"{}", "onnx/model.onnx": path}
        write_archive(files, tmp_path / f"{number}{suffix}")
        found.append((tmp_path / f"{number}{suffix}").read_bytes())
    assert found[0] == found[1]


def test_members_have_no_times_and_no_owners(tmp_path: Path) -> None:
    write_archive({"a": b"1", "b/c": b"22"}, tmp_path / "x.tar")
    with tarfile.open(tmp_path / "x.tar") as tar:
        told = [(one.name, one.size, one.mtime, one.uid, one.gid, one.uname, one.mode) for one in tar.getmembers()]
    assert told == [("bundle/a", 1, 0, 0, 0, "", 0o644), ("bundle/b/c", 2, 0, 0, 0, "", 0o644)]


def test_a_name_that_does_not_fit_leaves_no_archive(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="write the bundle as a folder"):
        write_archive({"n" * 300: b""}, tmp_path / "x.tar")
    assert not list(tmp_path.iterdir())
