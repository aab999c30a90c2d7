"""A bundle whose files are all there, unchanged, and no others: a folder, or an archive unpacked for a while."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator

from .archive import CHUNK, check_digest, check_size, unpack
from .errors import BundleError
from .manifest import MOST_BYTES, NAME, FileInfo, Manifest, parse_manifest

MOST_READ = 256 << 20
"""Bytes of a picture or a JSON file; graphs, engines and arrays are not read by `Bundle.read`."""
CACHE = re.compile(r"bundle_runner/(\w+/)*__pycache__/[^/]+\.pyc(\.[0-9]+)?")
"""What Python leaves when the runner is started from a bundle's folder: compiled files, and unfinished ones."""


@dataclass(frozen=True)
class Bundle:
    """The folder of a bundle and what its manifest says; `notes` say what no checksum covers."""

    root: Path
    manifest: Manifest
    notes: tuple[str, ...] = ()

    def path(self, name: str) -> Path:
        """Where a file of the manifest lies."""
        return self.root / name

    def read(self, name: str) -> bytes:
        """The content of a file of the manifest; raises `BundleError` for one of more than `MOST_READ` bytes."""
        size = self.manifest.files[name].size_bytes
        if size > MOST_READ:
            raise BundleError(f"{name} has {size} bytes, but at most {MOST_READ} are read")
        return self.path(name).read_bytes()


@contextmanager
def open_bundle(path: Path) -> Iterator[Bundle]:
    """The bundle in a folder or an archive, after its checksums; what an archive holds is gone when the block ends.

    Raises `BundleError` with the first thing that is wrong: a file that is missing, extra, changed or linked.
    """
    if path.is_dir():
        yield _checked(path)
        return
    if not path.exists():
        raise BundleError(
            f"there is no bundle at {path}: name a folder, a .tar or a .tar.zst that `secateur bundle` wrote"
        )
    if not path.is_file():
        raise BundleError(f"{path} is neither a folder nor a file: name a bundle")
    folder = Path(tempfile.mkdtemp(prefix="bundle-"))
    try:
        try:
            manifest = unpack(path, folder)
        except OSError as error:
            raise BundleError(f"cannot unpack {path} into {folder}: {error.strerror or error}") from error
        yield Bundle(folder, manifest)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _checked(root: Path) -> Bundle:
    """The bundle in a folder."""
    if not (root / NAME).exists():
        raise BundleError(f"{root} holds no {NAME}: name the folder of a bundle that `secateur bundle` wrote")
    manifest = parse_manifest(_content(root, NAME, MOST_BYTES))
    found, cached = listed(root)
    for name in sorted({*found, *manifest.files}):
        if name not in found:
            raise BundleError(f"{name} is missing, but {NAME} lists it")
        if name == NAME:
            continue
        if name not in manifest.files:
            raise BundleError(f"{name} is in the folder, but {NAME} does not list it")
        check_digest(name, _digest(root, name, manifest.files[name]), manifest.files[name])
    notes = ["bundle_runner holds Python's compiled files, which no checksum covers"] if cached else []
    return Bundle(root, manifest, tuple(notes))


def listed(root: Path) -> tuple[set[str], bool]:
    """The names of all files below a folder, and whether Python's cache of the runner is among what lies there.

    Raises `BundleError` for a link, a device or a pipe, and for a folder without files.
    """
    found: set[str] = set()
    cached = False
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        entries = sorted(os.scandir(root / folder), key=lambda entry: entry.name)
        if folder and not entries:
            raise BundleError(f"{folder!a} is an empty folder, which {NAME} does not list")
        for entry in entries:
            name = f"{folder}/{entry.name}" if folder else entry.name
            kind = entry.stat(follow_symlinks=False).st_mode
            if stat.S_ISDIR(kind):
                waiting.append(name)
            elif not stat.S_ISREG(kind):
                what = "a symbolic link" if stat.S_ISLNK(kind) else "no regular file"
                raise BundleError(f"{name!a} is {what}, but a bundle holds regular files only")
            elif CACHE.fullmatch(name):
                cached = True
            else:
                found.add(name)
    return found, cached


def _content(root: Path, name: str, most: int) -> bytes:
    """What is in a file of at most so many bytes."""
    with _regular(root, name) as descriptor, os.fdopen(os.dup(descriptor), "rb") as file:
        if os.fstat(descriptor).st_size > most:
            raise BundleError(f"{name} has {os.fstat(descriptor).st_size} bytes, but at most {most} are read")
        return file.read(most + 1)


def _digest(root: Path, name: str, told: FileInfo) -> str:
    """The SHA-256 of a file that has the size that the manifest says."""
    digest = hashlib.sha256()
    with _regular(root, name) as descriptor:
        check_size(name, os.fstat(descriptor).st_size, told)
        for _ in range(-(-told.size_bytes // CHUNK)):
            digest.update(os.read(descriptor, CHUNK))
    return digest.hexdigest()


@contextmanager
def _regular(root: Path, name: str) -> Iterator[int]:
    """A descriptor of a regular file, which is no link."""
    try:
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        descriptor = os.open(root / name, flags)
    except OSError as error:
        raise BundleError(f"cannot read {name}: {error.strerror or error}") from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise BundleError(f"{name} is no regular file, but a bundle holds regular files only")
        yield descriptor
    finally:
        os.close(descriptor)
