"""An error that nobody expected ends with a code of its own, and its traceback in a file."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from secateur.pipeline import cli


@pytest.mark.parametrize("error", [KeyError("plan"), RecursionError(), ZeroDivisionError("a\x1bb"), IndexError()])
@pytest.mark.parametrize("writable", [True, False])
def test_an_error_that_nobody_expected_is_a_sentence_with_the_place_of_its_traceback(
    error: Exception,
    writable: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fails(*words: object, **more: object) -> None:
        raise error

    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path if writable else tmp_path / "file"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "file"))
    monkeypatch.setattr(cli.cli, "main", fails)
    with pytest.raises(SystemExit) as ended:
        cli.main(["run", "x.yaml"])
    said = capsys.readouterr().err
    assert ended.value.code == 70 and said.startswith(
        f"secateur: this is a mistake in secateur ({type(error).__name__}"
    )
    assert "\x1b" not in said
    if writable:
        (log,) = (tmp_path / "secateur").iterdir()
        assert str(log) in said and said.count("\n") == 1
        said = log.read_text()
    assert "Traceback" in said and "x.yaml" in said and "in fails" in said
