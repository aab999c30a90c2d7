"""A bundle's .tar or .tar.zst, read member by member: what its manifest does not announce is refused, not written.

Bundles hold regular files in the USTAR format alone (POSIX.1-1988), so that anything else in an archive - links,
devices, extended headers of any length - is an error, and is named. Nothing is written outside the given folder.
"""

from __future__ import annotations

import hashlib
import io
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Iterator

from .errors import BundleError, UnavailableError
from .manifest import MOST_BYTES, NAME, FileInfo, Manifest, parse_manifest
from .names import checked_name

TOP = "bundle"
"""The folder that all members of an archive are in."""
BLOCK = 512
PADDING = 20 * BLOCK
"""An archive ends with zeros up to a multiple of this."""
ZSTD = b"\x28\xb5\x2f\xfd"
WINDOW_LOG = 27
"""Decompression may hold 2^27 bytes, 128 MiB."""
CHUNK = 1 << 20
_KINDS = {b"1": "a hard link", b"2": "a symbolic link", b"3": "a device", b"4": "a device", b"5": "a folder"}
_KINDS.update({b"6": "a pipe", b"x": "an extended header", b"g": "an extended header", b"L": "an extended header"})


def unpack(path: Path, folder: Path) -> Manifest:
    """Writes the files of an archive into an empty folder and returns its manifest; every checksum is right.

    Raises `BundleError` with the first member that is linked, leads elsewhere, stands twice, is not in the manifest, or
    has another size or SHA-256 than it says there, and for members that are missing or follow the end.
    """
    with opened(path) as stream:
        name, size = _member(stream, path) or ("", 0)
        if name != NAME:
            raise BundleError(f"{path.name} begins with {name!a}, but the first member of a bundle is {TOP}/{NAME}")
        if size > MOST_BYTES:
            raise BundleError(f"{NAME} in {path.name} has {size} bytes, but at most {MOST_BYTES} are read")
        data = io.BytesIO()
        _copy(stream, data, size, path)
        manifest = parse_manifest(data.getvalue())
        _check_room(manifest, folder, path)
        (folder / NAME).write_bytes(data.getvalue())
        seen = {NAME}
        for name, size in _members(stream, path):
            if name in seen:
                raise BundleError(f"{path.name} holds {name} twice")
            if name not in manifest.files:
                raise BundleError(f"{path.name} holds {name}, which {NAME} does not list")
            check_size(name, size, manifest.files[name])
            seen.add(name)
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            with (folder / name).open("xb") as file:
                check_digest(name, _copy(stream, file, size, path), manifest.files[name])
        _check_end(stream, path)
    for name in manifest.files:
        if name not in seen:
            raise BundleError(f"{name} is missing in {path.name}, but {NAME} lists it")
    return manifest


def _check_room(manifest: Manifest, folder: Path, path: Path) -> None:
    """Raises `BundleError` where the disk has no room for what an archive says that it holds."""
    needed, free = sum(one.size_bytes for one in manifest.files.values()), shutil.disk_usage(str(folder)).free
    if needed > free:
        raise BundleError(
            f"{path.name} holds {needed} bytes, but {free} are free in {folder.parent}: make room there, or set TMPDIR "
            "to a folder on a larger disk"
        )


def is_bundle(path: Path) -> bool:
    """Whether a file begins as the archive of a bundle does."""
    try:
        with opened(path) as stream:
            return (_member(stream, path) or ("", 0))[0] == NAME
    except BundleError:
        return False


def check_size(name: str, size: int, told: FileInfo) -> None:
    """Raises `BundleError` where a file has another size than the manifest says."""
    if size != told.size_bytes:
        raise BundleError(f"{name} has {size} bytes, but {NAME} says {told.size_bytes}: it was changed")


def check_digest(name: str, digest: str, told: FileInfo) -> None:
    """Raises `BundleError` where a file has another SHA-256 than the manifest says."""
    if digest != told.sha256:
        raise BundleError(f"{name} was changed: its SHA-256 is {digest}, but {NAME} says {told.sha256}")


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The bytes of an archive, decompressed where it begins as zstd does."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise BundleError(f"cannot read {path}: {error.strerror or error}") from error
    with file:
        packed = file.read(4) == ZSTD
        file.seek(0)
        if not packed:
            yield file
            return
        zstd = import_zstd()
        options = {zstd.DecompressionParameter.window_log_max: WINDOW_LOG}
        try:
            with zstd.ZstdFile(file, "rb", options=options) as stream:
                yield stream
        except (zstd.ZstdError, EOFError) as error:
            raise BundleError(f"{path.name} is damaged: {error}") from error


def import_zstd() -> Any:
    """The module of Zstandard; raises `UnavailableError` where there is none."""
    try:
        from compression import zstd  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        try:
            from backports import zstd
        except ImportError as error:
            raise UnavailableError(
                "this Python cannot read .zst: `pip install backports.zstd`, or unpack the bundle with "
                "`tar --zstd -xf` and name the folder"
            ) from error
    return zstd


def _members(stream: BinaryIO, path: Path) -> Iterator[tuple[str, int]]:
    """The name below `TOP` and the size of each member up to the end; each must be read before the next."""
    while True:
        found = _member(stream, path)
        if found is None:
            return
        yield found


def _member(stream: BinaryIO, path: Path) -> tuple[str, int] | None:
    """The next member's name below `TOP` and its size; None at the block of zeros that ends an archive."""
    head = _read(stream, BLOCK, path)
    if not head.strip(b"\0"):
        return None
    if head[257:265] != b"ustar\x0000":
        raise BundleError(f"{path.name} is no archive of a bundle: its members are not in the USTAR format")
    if sum(head[:148]) + 8 * 32 + sum(head[156:]) != _octal(head[148:156], path):
        raise BundleError(f"{path.name} is damaged: the checksum of a member's header is wrong")
    before = _text(head[345:500], path)
    full = (f"{before}/" if before else "") + _text(head[:100], path)
    kind = head[156:157]
    if kind != b"0":
        raise BundleError(
            f"{path.name} holds {full!a} as {_KINDS.get(kind, f'a member of the kind {kind!r}')}, but only regular "
            "files are allowed"
        )
    top, _, name = full.partition("/")
    if top != TOP:
        checked_name(full, path.name)
        raise BundleError(f"{path.name} holds {full}, but all members of a bundle are in {TOP}/")
    return checked_name(name, path.name), _octal(head[124:136], path)


def _copy(stream: BinaryIO, into: BinaryIO, size: int, path: Path) -> str:
    """Copies the content of a member and skips its padding; returns its SHA-256."""
    digest, left = hashlib.sha256(), size
    while left:
        part = _read(stream, min(left, CHUNK), path)
        digest.update(part)
        into.write(part)
        left -= len(part)
    if _read(stream, -size % BLOCK, path).strip(b"\0"):
        raise BundleError(f"{path.name} is damaged: bytes are hidden after a member's content")
    return digest.hexdigest()


def _check_end(stream: BinaryIO, path: Path) -> None:
    """Raises `BundleError` where anything but zeros, or too many of them, follow the last member."""
    rest = stream.read(PADDING + 1)
    if len(rest) > PADDING or len(rest) < BLOCK or rest.strip(b"\0"):
        raise BundleError(f"{path.name} is damaged: it does not end with the zeros of an archive")


def _read(stream: BinaryIO, size: int, path: Path) -> bytes:
    """Exactly that many bytes."""
    parts = []
    while size:
        part = stream.read(size)
        if not part:
            raise BundleError(f"{path.name} ends in the middle: copy it again")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _octal(field: bytes, path: Path) -> int:
    digits = field.rstrip(b" \0").lstrip(b" ")
    if not digits or digits.strip(b"01234567"):
        raise BundleError(f"{path.name} is damaged: a number in a member's header cannot be read")
    return int(digits, 8)


def _text(field: bytes, path: Path) -> str:
    text, _, rest = field.partition(b"\0")
    if rest.strip(b"\0"):
        raise BundleError(f"{path.name} is damaged: a name in a member's header has something after its end")
    return text.decode("utf-8", "backslashreplace")
