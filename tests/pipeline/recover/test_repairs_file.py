"""repairs.json: read as it was written, and refused where a number is missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from secateur.core.errors import RunError
from secateur.pipeline.recover.repairs_file import RepairsFile
from secateur.pipeline.recover.ridge import Repair

FILE = RepairsFile((Repair("blocks.0.mlp.fc2", "lstsq", 1e-3, 0.5, 0.25), Repair("blocks.0.attn", "none", None, 1, 1)))


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "repairs.json"
    FILE.save(path)
    assert RepairsFile.load(path) == FILE
    content = json.loads(path.read_text())
    assert list(content) == ["schema", "layers"]
    assert list(content["layers"][0]) == ["layer", "way", "ridge", "error_before", "error_after"]
    del content["layers"][1]["error_after"]
    path.write_text(json.dumps(content))
    with pytest.raises(RunError, match=r"layers\.1\.error_after"):
        RepairsFile.load(path)
