"""The text that a bundle is found with."""

from __future__ import annotations

from dataclasses import replace

from secateur.export.bundle.readme import readme
from secateur.export.runner.manifest import Built


def test_every_engine_has_a_row() -> None:
    plan = Built("tensorrt", "fp16", "e", "tensorrt", "10.3.0", ("sm_87",))
    there = replace(plan, device="orin")
    text = readme("deit", [plan, there, Built("onnxruntime:cpu", "fp32", "o", "onnxruntime", "1.20")])
    assert "| `tensorrt@fp16` | fp16 | tensorrt 10.3.0 | sm_87 |" in text
    assert "| `orin/tensorrt@fp16` | fp16 |" in text
    assert "| `onnxruntime:cpu` | fp32 | onnxruntime 1.20 | any processor |" in text
    assert "python3 -m bundle_runner verify" in text


def test_the_name_of_a_model_is_text() -> None:
    assert readme("a* <b>\n# c", ()).startswith("# a\\* &lt;b&gt;\\\\n# c\n\n")
