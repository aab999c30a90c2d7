"""A bundle's files: the first one that is missing, extra, changed or linked is named."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from secateur.export.bundle.contents import Contents
from secateur.export.bundle.make import write_bundle
from secateur.export.runner.bundle import open_bundle
from secateur.export.runner.errors import BundleError
from secateur.export.runner.manifest import NAME


def flip(path: Path) -> None:
    """Changes one bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_an_unchanged_one(made_bundle: Path) -> None:
    with open_bundle(made_bundle) as bundle:
        assert bundle.read("licences/model.txt") == b"Free.\n"
        assert bundle.notes == ()


def test_a_bit_in_any_file_is_found(bundle: Path) -> None:
    paths = [path for path in sorted(bundle.rglob("*")) if path.is_file() and path.name != NAME]
    assert {".onnx", ".engine", ".json", ".npy", ".png", ".py", ".md", ".txt"} == {path.suffix for path in paths}
    for path in paths:
        before = path.read_bytes()
        flip(path)
        with (
            pytest.raises(BundleError, match=f"^{path.relative_to(bundle).as_posix()} was changed"),
            open_bundle(bundle),
        ):
            pass
        path.write_bytes(before)


def test_a_bit_anywhere_in_the_manifest_is_found_or_changes_words_alone(bundle: Path) -> None:
    """The manifest itself has no checksum: what says where files are and what is in them must fail."""
    data = (bundle / NAME).read_bytes()
    for place in range(data.index(b'"files"'), data.index(b'"graphs"'), 41):
        if data[place] in b" \n":
            continue
        (bundle / NAME).write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(BundleError), open_bundle(bundle):
            pass


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda b: (b / "labels.json").unlink(), "labels.json is missing"),
        (lambda b: (b / "extra.txt").touch(), "extra.txt is in the folder, but"),
        (lambda b: (b / "onnx" / "x.data").touch(), "onnx/x.data is in the folder"),
        (lambda b: (b / "empty").mkdir(), "'empty' is an empty folder"),
        (lambda b: (b / "labels.json").write_bytes(b""), "labels.json has 0 bytes"),
        (lambda b: (b / "link").symlink_to("/etc/passwd"), "'link' is a symbolic link"),
        (lambda b: (b / "up").symlink_to(b.parent), "'up' is a symbolic link"),
        (lambda b: os.mkfifo(b / "pipe"), "'pipe' is no regular file"),
        (lambda b: (b / NAME).unlink(), f"holds no {NAME}"),
        (lambda b: ((b / NAME).rename(b / "m"), (b / NAME).symlink_to(b / "m")), f"cannot read {NAME}"),
        (lambda b: ((b / NAME).unlink(), os.mkfifo(b / NAME)), f"{NAME} is no regular file"),
        (lambda b: (b / "bundle_runner" / "evil.pyc").touch(), "bundle_runner/evil.pyc is in the folder"),
    ],
)
def test_what_no_bundle_has(bundle: Path, change: Callable[[Path], object], words: str) -> None:
    change(bundle)
    with pytest.raises(BundleError, match=words), open_bundle(bundle):
        pass


def test_compiled_files_of_the_runner_are_noted(bundle: Path) -> None:
    for name in ("__pycache__/verify.cpython-38.pyc", "sensors/__pycache__/probe.cpython-313.pyc.140213"):
        (bundle / "bundle_runner" / name).parent.mkdir()
        (bundle / "bundle_runner" / name).touch()
    with open_bundle(bundle) as found:
        (note,) = found.notes
        assert "no checksum covers" in note
    (bundle / "bundle_runner" / "__pycache__" / "verify.py").touch()
    with pytest.raises(BundleError, match="does not list it"), open_bundle(bundle):
        pass


def test_what_fails_while_an_archive_is_open_is_not_its_unpacking(contents: Contents, tmp_path: Path) -> None:
    write_bundle(contents, tmp_path / "x.tar")
    with pytest.raises(FileNotFoundError), open_bundle(tmp_path / "x.tar"):
        (tmp_path / "absent").read_bytes()


def test_a_place_that_holds_none(tmp_path: Path) -> None:
    for path, words in ((tmp_path / "absent", "there is no bundle at"), (Path("/dev/null"), "neither a folder nor")):
        with pytest.raises(BundleError, match=words), open_bundle(path):
            pass


def test_an_archive_is_unpacked_for_the_block_alone(contents: Contents, tmp_path: Path) -> None:
    write_bundle(contents, tmp_path / "x.tar.zst")
    with open_bundle(tmp_path / "x.tar.zst") as bundle:
        root = bundle.root
        assert (root / "onnx" / "model.fp32.onnx").is_file()
    assert not root.exists()
