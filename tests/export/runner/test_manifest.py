"""MANIFEST.json: read as it was written, and every way in which its parts do not fit together."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from secateur.export.runner import manifest as module
from secateur.export.runner.errors import BundleError
from secateur.export.runner.manifest import NAME, parse_manifest

Change = Callable[[dict[str, Any]], object]


def test_what_it_says(made_bundle: Path) -> None:
    found = parse_manifest((made_bundle / NAME).read_bytes())
    assert (found.model, found.classes, [graph.precision for graph in found.graphs]) == ("linear", 3, ["fp32", "fp16"])
    assert [engine.key for engine in found.engines] == ["tensorrt_rtx:sm_86", "onnxruntime:cpu", "onnxruntime:cpu@fp16"]
    assert found.engines[0].capabilities == ("sm_86",)
    assert found.graph("fp16").path == "onnx/model.fp16.onnx"
    assert found.golden.inputs == {"input": "golden/inputs.0.npy"}
    assert {path.relative_to(made_bundle).as_posix() for path in made_bundle.rglob("*") if path.is_file()} == {
        NAME,
        *found.files,
    }


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m.update(schema="secateur.bundle/2"), "has the schema 'secateur.bundle/2'"),
        (lambda m: m.update(surprise=1), "unknown key 'surprise'"),
        (lambda m: m["files"].update({"../../x": m["files"]["labels.json"]}), "leads out of the bundle"),
        (lambda m: m["files"].update({"LABELS.json": m["files"]["labels.json"]}), "are one file on some systems"),
        (lambda m: m["files"].update({NAME.lower(): m["files"]["labels.json"]}), "are one file on some systems"),
        (lambda m: m["files"]["labels.json"].update(sha256="x"), "sha256"),
        (lambda m: m["files"]["labels.json"].update(size_bytes=1 << 40), "size_bytes"),
        (lambda m: m["files"].pop("evidence.json"), "speaks of 'evidence.json'"),
        (lambda m: m["graphs"][0].update(path="onnx/other"), "speaks of 'onnx/other'"),
        (lambda m: m["graphs"][0].update(dense="/etc/passwd"), "speaks of '/etc/passwd'"),
        (lambda m: m["graphs"][0].update(tolerance=2), "tolerance is 2"),
        (lambda m: m["graphs"][0].update(golden={}), "other outputs than the golden ones"),
        (lambda m: m["golden"].update(inputs={}), "other inputs than the golden ones"),
        (lambda m: m["graphs"].append(m["graphs"][0]), "one of each precision"),
        (lambda m: m["graphs"].clear(), "one of each precision"),
        (lambda m: m["engines"].append(m["engines"][0]), "two engines of one name"),
        (lambda m: m["engines"][0].update(device="../orin"), "device is '../orin'"),
        (lambda m: m["engines"][0].update(precision="int8"), "of which there is no graph"),
        (lambda m: m["engines"][0].update(runtime="tensorrt"), "has the runtime tensorrt"),
        (lambda m: m["engines"][0].update(target="os:system"), "target is 'os:system'"),
    ],
)
def test_parts_that_do_not_fit(made_bundle: Path, change: Change, words: str) -> None:
    content = json.loads((made_bundle / NAME).read_bytes())
    change(content)
    with pytest.raises(BundleError, match=words):
        parse_manifest(json.dumps(content).encode())


def test_bounds(made_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = (made_bundle / NAME).read_bytes()
    monkeypatch.setattr(module, "MOST_TOTAL", 1000)
    with pytest.raises(BundleError, match="is 1"):
        parse_manifest(data.replace(b'"size_bytes": ', b'"size_bytes": 1', 1))
    monkeypatch.setattr(module, "MOST_BYTES", 1000)
    with pytest.raises(BundleError, match="at most 1000 are read"):
        parse_manifest(data)
