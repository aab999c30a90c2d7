"""Archives from strangers: every member that no bundle has is refused by name, and nothing is written outside."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from backports import zstd

from secateur.export.bundle.archive import write_archive
from secateur.export.bundle.contents import Contents
from secateur.export.bundle.make import files_of
from secateur.export.runner import archive
from secateur.export.runner.archive import unpack
from secateur.export.runner.errors import BundleError, UnavailableError
from secateur.export.runner.manifest import MOST_TOTAL, NAME

Members = list[tuple[tarfile.TarInfo, bytes]]


def members(path: Path) -> Members:
    with tarfile.open(path) as tar:
        return [(member, tar.extractfile(member).read()) for member in tar.getmembers()]  # type: ignore[union-attr]


def written(path: Path, found: Members, form: int = tarfile.USTAR_FORMAT) -> Path:
    with tarfile.open(path, "w", format=form) as tar:
        for member, content in found:
            tar.addfile(member, io.BytesIO(content))
    return path


def extra(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    return member, b""


@pytest.fixture(scope="module")
def tar(contents: Contents, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tar") / "linear.tar"
    write_archive(files_of(contents)[0], path)
    return path


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """An empty folder, beside which nothing may appear."""
    (tmp_path / "outer" / "inner").mkdir(parents=True)
    yield tmp_path / "outer" / "inner"
    assert [path.name for path in (tmp_path / "outer").iterdir()] == ["inner"]


@pytest.mark.parametrize("suffix", [".tar", ".tar.zst"])
def test_what_was_packed(contents: Contents, place: Path, tmp_path: Path, suffix: str) -> None:
    files, manifest = files_of(contents)
    write_archive(files, tmp_path / f"linear{suffix}")
    assert unpack(tmp_path / f"linear{suffix}", place) == manifest
    for name, source in files.items():
        assert (place / name).read_bytes() == (source if isinstance(source, bytes) else source.read_bytes())


@pytest.mark.parametrize(
    ("member", "words"),
    [
        (extra("bundle/../../evil"), "leads out of the bundle"),
        (extra("../evil"), "leads out of the bundle"),
        (extra("/evil"), "no absolute paths"),
        (extra("evil"), "all members of a bundle are in bundle/"),
        (extra("bundle/evil"), "holds evil, which MANIFEST.json does not list"),
        (extra("bundle/labels.json", tarfile.SYMTYPE, "/etc/passwd"), "'bundle/labels.json' as a symbolic link"),
        (extra("bundle/labels.json", tarfile.LNKTYPE, "bundle/x"), "'bundle/labels.json' as a hard link"),
        (extra("bundle/dev", tarfile.CHRTYPE), "as a device"),
        (extra("bundle/pipe", tarfile.FIFOTYPE), "as a pipe"),
        (extra("bundle/folder", tarfile.DIRTYPE), "as a folder"),
        (extra("bundle/labels.json"), "has 0 bytes, but MANIFEST.json says"),
    ],
)
def test_a_member_that_no_bundle_has(
    tar: Path, tmp_path: Path, place: Path, member: tuple[tarfile.TarInfo, bytes], words: str
) -> None:
    found = members(tar)
    with pytest.raises(BundleError, match=words):
        unpack(written(tmp_path / "x.tar", [found[0], member, *found[1:]]), place)


def test_members_that_stand_twice_or_are_missing_or_changed(tar: Path, tmp_path: Path, place: Path) -> None:
    first, second, *rest = members(tar)
    name = second[0].name.removeprefix("bundle/")
    for found, words in (
        ([first, second, second, *rest], f"holds {name} twice"),
        ([first, first, second, *rest], f"holds {NAME} twice"),
        ([first, *rest], f"{name} is missing in x.tar"),
        ([second, first, *rest], "begins with"),
        ([first, (second[0], bytes(len(second[1]))), *rest], f"{name} was changed"),
    ):
        for path in place.rglob("*"):
            if path.is_file():
                path.unlink()
        with pytest.raises(BundleError, match=words):
            unpack(written(tmp_path / "x.tar", found), place)


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_headers_of_any_length_are_not_read(tar: Path, tmp_path: Path, place: Path, form: int) -> None:
    with pytest.raises(BundleError, match=r"not in the USTAR format|an extended header"):
        unpack(written(tmp_path / "x.tar", [extra("bundle/" + "n" * 300), *members(tar)], form), place)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: data[:-20000], "ends in the middle|does not end"),
        (lambda data: data + bytes(20000), "does not end with the zeros"),
        (lambda data: data + b"x", "does not end with the zeros"),
        (lambda data: data[:100] + b"x" + data[101:], "the checksum of a member's header is wrong"),
        (lambda data: data[:124] + b"\x80" + data[125:], "is damaged"),
        (lambda data: b"", "ends in the middle"),
        (lambda data: bytes(1024), "begins with"),
        (lambda data: b"PK\x03\x04" + bytes(1000), "not in the USTAR format"),
        (lambda data: zstd.compress(data)[:-9], "is damaged|ends in the middle"),
        (lambda data: zstd.compress(data)[:40] + bytes(20) + zstd.compress(data)[60:], "is damaged"),
    ],
)
def test_damage(tar: Path, tmp_path: Path, place: Path, change: object, words: str) -> None:
    (tmp_path / "x.tar").write_bytes(change(tar.read_bytes()))  # type: ignore[operator]
    with pytest.raises(BundleError, match=words):
        unpack(tmp_path / "x.tar", place)


def test_an_archive_that_no_disk_has_room_for_is_refused_before_it_is_unpacked(
    tar: Path, tmp_path: Path, place: Path
) -> None:
    """Zeros take next to nothing in a .tar.zst, and the manifest says how many there will be."""
    (head, data), *rest = members(tar)
    told = json.loads(data)
    told["files"]["labels.json"]["size_bytes"] = MOST_TOTAL - (1 << 30)
    data = json.dumps(told).encode()
    head.size = len(data)
    written(tmp_path / "x.tar", [(head, data), *rest])
    with (
        pytest.MonkeyPatch.context() as patch,
        pytest.raises(
            BundleError, match=r"x.tar holds \d+ bytes, but 1000 are free in .*: make room there, or set TMPDIR"
        ),
    ):
        patch.setattr(archive.shutil, "disk_usage", lambda where: SimpleNamespace(free=1000))
        unpack(tmp_path / "x.tar", place)
    assert not any(place.iterdir())


def test_a_frame_that_wants_much_memory_is_refused(
    tar: Path, tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "WINDOW_LOG", 10)
    (tmp_path / "x.tar.zst").write_bytes(zstd.compress(tar.read_bytes() + bytes(1 << 20)))
    with pytest.raises(BundleError, match=r"is damaged.*memory"):
        unpack(tmp_path / "x.tar.zst", place)


def test_without_zstandard_the_way_out_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "compression", None)
    monkeypatch.setitem(__import__("sys").modules, "backports", None)
    with pytest.raises(UnavailableError, match="tar --zstd -xf"):
        archive.import_zstd()
