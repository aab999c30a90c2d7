"""Processes are collected into one file, which goes on where it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from secateur_studies.error_rates import collect
from secateur_studies.error_rates.collect import KIND, main
from secateur_studies.error_rates.table import rows_of

from secateur.core.files import read_json


def test_a_collection_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, str]] = []
    kinds: list[str] = []

    def one_process(size: str, seed: int, folder: Path) -> dict[str, Any]:
        seen.append((seed, size))
        if seed == 45:
            raise KeyboardInterrupt
        return {"seed": seed, "reference median": 1.0 + seed}

    class Load:
        def __init__(self, kind: str, seed: int) -> None:
            kinds.append(kind)

        def __enter__(self) -> None: ...

        def __exit__(self, *details: object) -> None: ...

    monkeypatch.setattr(collect, "one_process", one_process)
    monkeypatch.setattr(collect, "load", Load)
    monkeypatch.setattr(collect, "planted", lambda size, folder: {})
    out = tmp_path / "rates.json"
    words = ["--size", "5 ms", "--machine", "loaded", "--count", "50", "--out", str(out)]
    assert CliRunner().invoke(main, words).exit_code == 1
    assert len(rows_of(read_json(out, KIND)["found"]["5 ms, loaded"])) == 40  # what was written before
    monkeypatch.setattr(collect, "one_process", lambda size, seed, folder: {"seed": seed, "reference median": 0.5})
    assert CliRunner().invoke(main, words, catch_exceptions=False).exit_code == 0
    found = read_json(out, KIND)
    rows = rows_of(found["found"]["5 ms, loaded"])
    assert [row["seed"] for row in rows] == list(range(50))
    assert [row["load"] for row in rows[::20]] == kinds[:3] == ["core", "bursts", "memory"]
    assert rows[40]["reference median"] == 0.5


def test_a_process_is_measured_and_others_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    monkeypatch.setattr(collect, "BLOCKS", {"0.5 ms": 5})
    found = collect.one_process("0.5 ms", 0, tmp_path)
    assert found["seconds"] > 0
    assert found["others"] > -0.5
    assert found["20 % slower median"] > 0
