"""Files to a device and back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from secateur.core.errors import ConnectionLostError, DeviceError
from secateur.core.files import sha256_file
from secateur.export.devices import ssh
from secateur.export.devices.transfer import ask, fetch, missing, push
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


@pytest.mark.parametrize(
    "answer", ["5", "[]", "{", "", "[" * 100000, '{"error": 3}', '{"user": 1}\n{"user": 2}', "\x1b[2J", '{"files": 3}',
               '{"files": {}}', '{"files": {"/etc/passwd": [false, 0]}}', f'{{"files": {{"{JOB}": [false, 1, 2]}}}}']
)  # fmt: skip
def test_an_answer_of_another_kind_is_refused_in_a_sentence(stand_in: StandIn, answer: str) -> None:
    with pytest.raises(DeviceError) as error:
        missing(stand_in.lies(have=answer), {"a": JOB})
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


def test_a_line_without_end_ends(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "LONGEST", 1000)
    with pytest.raises(DeviceError, match="which is no answer"):
        ask(stand_in.lies(hello=json.dumps({"user": "x" * 5000})), "hello")


@pytest.mark.parametrize("answer", ["{}", '{"bytes": -1}', '{"bytes": 5000000000}', '{"bytes": "4"}'])
def test_more_or_less_than_a_result_has_is_not_read(stand_in: StandIn, tmp_path: Path, answer: str) -> None:
    with pytest.raises(DeviceError, match="damaged or cut short"):
        fetch(stand_in.lies(get=answer), JOB, "x", 4, JOB, tmp_path / "x", quiet)
    assert not list(tmp_path.glob("x*"))


def test_a_result_that_no_disk_holds_is_not_fetched(stand_in: StandIn, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="has 1000000000000000000 bytes, but"):
        fetch(stand_in.device, JOB, "x", 10**18, JOB, tmp_path / "x", quiet)


def test_more_than_there_is_to_push_is_sent_anew(stand_in: StandIn) -> None:
    named = push(stand_in.device, {"a": b"right"}, quiet)
    store = stand_in.files / "store"
    (store / named["a"]).rename(store / f"{named['a']}.part")
    (store / f"{named['a']}.part").write_bytes(b"twice as long")
    assert push(stand_in.device, {"a": b"right"}, quiet) == named
    assert (store / named["a"]).read_bytes() == b"right"
