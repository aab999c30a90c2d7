"""JSON of the hub, and files that are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from secateur.core.errors import ModelError
from secateur.pipeline.models.hub_json import read_hub_json


def test_what_a_file_holds(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"a": [1]}')
    assert read_hub_json(tmp_path / "config.json") == {"a": [1]}


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_what_cannot_be_read_is_a_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    for one in (path, tmp_path / "absent.json"):
        with pytest.raises(ModelError, match=rf"cannot read {one}: .*; copy or download it again"):
            read_hub_json(one)
