"""`secateur doctor`: complete, readable by machines, and never failing for what is absent."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from secateur.export import capabilities
from secateur.export.targets import all_targets
from secateur.pipeline.cli import cli


def test_json_holds_every_target() -> None:
    result = CliRunner().invoke(cli, ["doctor", "--json"])
    assert result.exit_code == 0, result.output
    content = json.loads(result.output)
    assert content["schema"] == "secateur.doctor/1"
    assert [row["target"] for row in content["targets"]] == [str(target) for target in all_targets()]
    assert {"python", "system", "cpu", "driver", "gpus", "providers", "ahead_of_time", "warnings"} <= set(content)


def test_the_page_shows_commands_and_warnings_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capabilities, "driver_and_gpus", lambda: ("", ()))
    monkeypatch.setattr(capabilities, "torch_cuda", lambda: ("", ()))
    monkeypatch.setattr(capabilities, "_is_installed", lambda name: True)
    result = CliRunner().invoke(cli, ["doctor"])
    assert result.exit_code == 0, result.output
    for target in all_targets():
        assert str(target) in result.output
    assert "pip install 'secateur[gpu]'" in result.output
    assert "warning: onnxruntime and onnxruntime-gpu are both installed" in result.output
