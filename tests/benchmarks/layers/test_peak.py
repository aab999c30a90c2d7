"""The roofline is the best that was measured on the target, or a GPU's data sheet."""

from __future__ import annotations

from pathlib import Path

import pytest

from secateur.benchmarks.layers import peak
from secateur.benchmarks.layers.alone import Alone
from secateur.benchmarks.layers.peak import NOTHING, roofline_of
from secateur.benchmarks.roofline import peak_of
from secateur.export.targets import parse_typed_target
from tests.export.conftest import needs_ort

SMALL = {"product": Alone("MatMul", (32, 32), (32, 32)), "copy": Alone("Neg", (4096,))}


@needs_ort
@pytest.mark.parametrize("target", ["onnxruntime:cpu", "torch:cpu"])
def test_a_cpu_is_measured_through_its_runtime(target: str, tmp_path: Path) -> None:
    found = roofline_of(parse_typed_target(target), "NVIDIA H200", 1, 0.01, tmp_path, **SMALL)
    assert found.source == f"measured on {target}: a product of 32x32x32 and a copy of 0.01562 MiB"
    assert found.floor_ms > 0


def test_the_best_run_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {SMALL["product"]: 0.5, SMALL["copy"]: 0.25}
    monkeypatch.setattr(peak, "floor_ms", lambda *_: 0.001)
    monkeypatch.setattr(peak, "best_s", lambda layer, *_: seconds[layer])
    for target, bits in (("onnxruntime:cpu", 4), ("onnxruntime:cpu@fp16", 2), ("onnxruntime:cpu@int8", 4)):
        found = roofline_of(parse_typed_target(target), "", 1, 0.01, tmp_path, **SMALL)
        assert found.macs_per_s == 32**3 / 0.5
        assert found.bytes_per_s == 2 * bits * 4096 / 0.25


def test_a_known_gpu_has_its_data_sheet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peak, "floor_ms", lambda *_: 0.001)
    sheet = peak_of("Tesla T4")
    found = roofline_of(parse_typed_target("tensorrt@fp16"), "Tesla T4", 1, 0.01, tmp_path)
    assert (found.macs_per_s, found.bytes_per_s) == (sheet.tensor_flops_per_second / 2, sheet.bytes_per_second)
    assert found.source == "the data sheet of Tesla T4, 16-bit tensor cores"
    plain = roofline_of(parse_typed_target("onnxruntime:cuda"), "Tesla T4", 1, 0.01, tmp_path)
    assert (plain.macs_per_s, plain.source) == (sheet.fp32_flops_per_second / 2, "the data sheet of Tesla T4, fp32")


def test_the_least_layer_is_little_work() -> None:
    assert NOTHING.macs == 64
