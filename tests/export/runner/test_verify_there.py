"""What runs on a device for `verify --device`."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

from secateur.export.bundle.make import write_bundle
from secateur.export.runner.sensors.watcher import Watcher
from secateur.export.runner.verify import SCHEMA
from secateur.export.runner.verify_there import main
from tests.export.conftest import needs_ort
from tests.export.runner.sensors.stand_ins import ORIN, planted
from tests.export.small_bundle import make_contents


@needs_ort
def test_a_verdict_is_written_and_a_damaged_bundle_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher = partial(Watcher, root=planted(tmp_path / "root", ORIN))
    monkeypatch.setattr("secateur.export.runner.sensors.watched.Watcher", watcher)
    (tmp_path / "job.json").write_text(json.dumps({"targets": [], "latency": False}))
    words = [str(tmp_path / name) for name in ("job.json", "bundle", "out.json")]
    write_bundle(make_contents(tmp_path), tmp_path / "bundle")
    main(words)
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["schema"] == SCHEMA and {check["outcome"] for check in found["checks"]} == {"pass", "skipped"}
    assert found["checks"][-1] == {**found["checks"][-1], "name": "throttling", "outcome": "pass"}
    assert any(reading["name"] == "VDD_IN" for reading in found["conditions"]["readings"])
    (tmp_path / "bundle" / "README.md").write_text("damaged")
    with pytest.raises(SystemExit, match=r"README\.md"):
        main(words)
