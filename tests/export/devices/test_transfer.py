"""Files to a device and back."""

from __future__ import annotations

from pathlib import Path

import pytest

from secateur.core.errors import ConnectionLostError, DeviceError
from secateur.core.files import sha256_file
from secateur.export.devices.transfer import ask, fetch, push
from tests.export.devices.stand_in_ssh import StandIn

MEGABYTE = bytes(range(256)) * 4096
JOB = "1" * 64


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    found = {"model.onnx": MEGABYTE, "a/'odd $name": b"", "b": b"b"}
    for number, content in enumerate(found.values()):
        (tmp_path / str(number)).write_bytes(content)
    return {name: tmp_path / str(number) for number, name in enumerate(found)}


def quiet(message: str) -> None:
    pass


def test_a_second_push_sends_nothing(stand_in: StandIn, files: dict[str, Path]) -> None:
    named = push(stand_in.device, files, quiet)
    assert named == {name: sha256_file(path) for name, path in files.items()}
    assert {path.name for path in (stand_in.files / "store").iterdir()} == {*named.values()}
    assert push(stand_in.device, {name: path.read_bytes() for name, path in files.items()}, quiet) == named
    before, said = stand_in.calls, list[str]()
    assert push(stand_in.device, files, said.append) == named
    assert stand_in.calls == before + 1 and not said


def test_a_push_that_was_cut_off_goes_on_where_it_was(stand_in: StandIn, files: dict[str, Path]) -> None:
    stand_in.plan("ok", "take 600000")
    with pytest.raises(ConnectionLostError):
        push(stand_in.device, files, quiet)
    said: list[str] = []
    push(stand_in.device, files, said.append)
    sizes = [path.stat().st_size for path in (stand_in.files / "store").iterdir()]
    assert sorted(sizes) == [0, 1, len(MEGABYTE)]
    assert "of 0.5 MB" in said[-1]  # and not of a whole one


def test_a_file_that_is_not_here_is_said(stand_in: StandIn, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="there is no file"):
        push(stand_in.device, {"a": tmp_path / "none"}, quiet)


@pytest.fixture
def result(stand_in: StandIn, tmp_path: Path) -> tuple[str, int, str]:
    """A result that waits on the device: its name, size and SHA-256."""
    ask(stand_in.device, "hello")
    path = stand_in.files / "jobs" / JOB / "work" / "out" / "model.engine"
    path.parent.mkdir(parents=True)
    path.write_bytes(MEGABYTE)
    return path.name, len(MEGABYTE), sha256_file(path)


def test_a_fetch_that_was_cut_off_goes_on(stand_in: StandIn, result: tuple[str, int, str], tmp_path: Path) -> None:
    target = tmp_path / "back" / "model.engine"
    stand_in.plan("give 300000")
    with pytest.raises(ConnectionLostError):
        fetch(stand_in.device, JOB, *result, target, quiet)
    assert not target.exists()
    said: list[str] = []
    fetch(stand_in.device, JOB, *result, target, said.append)
    assert target.read_bytes() == MEGABYTE and float(said[0].split()[-4]) >= 0.3
    assert [path.name for path in target.parent.iterdir()] == ["model.engine"]


@pytest.mark.parametrize("damage", [MEGABYTE[:-1], b"?" + MEGABYTE[1:]])
def test_a_result_that_is_not_what_was_promised_is_refused(
    stand_in: StandIn, result: tuple[str, int, str], tmp_path: Path, damage: bytes
) -> None:
    (stand_in.files / "jobs" / JOB / "work" / "out" / "model.engine").write_bytes(damage)
    with pytest.raises(DeviceError, match="damaged or cut short"):
        fetch(stand_in.device, JOB, *result, tmp_path / "back" / "model.engine", quiet)
    assert not list((tmp_path / "back").iterdir())


def test_an_older_rest_that_is_too_long_is_not_used(
    stand_in: StandIn, result: tuple[str, int, str], tmp_path: Path
) -> None:
    (tmp_path / "model.engine.part").write_bytes(MEGABYTE + b"?")
    fetch(stand_in.device, JOB, *result, tmp_path / "model.engine", quiet)
    assert (tmp_path / "model.engine").read_bytes() == MEGABYTE
