"""`secateur verify`: exit codes, the first thing that is wrong, JSON."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from secateur.export.bundle.make import write_bundle
from secateur.export.devices.device import Device
from secateur.export.devices.registry import add_device
from secateur.pipeline.cli import main
from tests.export.conftest import needs_ort
from tests.export.devices.stand_in_ssh import installed
from tests.export.small_bundle import make_contents
from tests.pipeline.cli.conftest import Command

pytestmark = needs_ort


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("verify")
    write_bundle(make_contents(folder), folder / "linear.tar.zst")
    (folder / "again").mkdir()
    write_bundle(make_contents(folder / "again"), folder / "linear")
    return folder


def test_a_good_one(secateur: Command, made: Path) -> None:
    done = secateur("verify", made / "linear.tar.zst", "--no-latency")
    assert (done.exit_code, done.output.splitlines()[-1]) == (0, "pass (6 checks)")
    assert "it was not asked for" in done.output


def test_json(secateur: Command, made: Path) -> None:
    done = secateur("verify", made / "linear", "--target", "tensorrt_rtx:sm_86", "--no-latency", "--json")
    content = json.loads(done.output)
    assert (content["schema"], content["outcome"], done.exit_code) == ("secateur.verify/1", "inconclusive", 3)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("onnx/model.fp32.onnx", "onnx/model.fp32.onnx has 3 bytes"),
        ("MANIFEST.json", "MANIFEST.json is not valid JSON"),
        ("more.txt", "more.txt is in the folder"),
    ],
)
def test_a_damaged_one_is_exit_2_in_a_sentence(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, words: str
) -> None:
    shutil.copytree(made / "linear", tmp_path / "linear")
    (tmp_path / "linear" / name).write_bytes(b"bad")
    with pytest.raises(SystemExit) as ended:
        main(["verify", str(tmp_path / "linear")])
    said = capsys.readouterr()
    assert (ended.value.code, said.out, said.err.count("\n")) == (2, "", 1)
    assert words in said.err


def test_on_devices(secateur: Command, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(tmp_path / "stand-in", monkeypatch)
    add_device(Device("orin", "host", python=sys.executable))
    done = secateur("verify", made / "linear", "--device", "orin", "--no-latency")
    assert (done.exit_code, done.output.splitlines()[-1]) == (0, "orin: pass (6 checks)")
    done = secateur("verify", made / "linear", "--keep")
    assert done.exit_code == 2
