"""Parity: what differs is found, with the batch and the size of the difference."""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from secateur.core.errors import ExportError, MissingPackageError
from secateur.export.parity import check_parity
from secateur.export.precision import TOLERANCES
from secateur.export.to_onnx import export_onnx
from tests.export.conftest import SHAPE, Cnn, TwoOutputs, needs_ort

pytestmark = needs_ort


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_parity_in_every_precision(transformer: nn.Module, onnx_files: dict[str, Path], precision: str) -> None:
    parity = check_parity(transformer, onnx_files[precision])
    assert parity.tolerance == TOLERANCES[precision]
    assert [difference.batch for difference in parity.differences] == [1, 2, 7]
    assert parity.widened == (precision == "bf16")
    wider = {"fp32": 0.0, "fp16": 1e-5, "bf16": 1e-4}[precision]  # narrower types must really be in the graph
    assert wider <= parity.worst.relative <= parity.tolerance


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_folded_batch_norms_keep_the_precision(tmp_path: Path, precision: str) -> None:
    torch.manual_seed(0)
    model = Cnn(32)
    with torch.no_grad():
        model.norm.running_mean.normal_()
        model.norm.running_var.uniform_(0.5, 2)
    info = export_onnx(model, tmp_path / "model.onnx", input_shape=(3, 16, 16), precision=precision)
    assert info.precision == precision
    check_parity(model, info.path)


def test_the_measured_difference_is_that_of_the_definition(transformer: nn.Module, onnx_files: dict[str, Path]) -> None:
    import onnxruntime

    found = check_parity(transformer, onnx_files["fp16"], batches=(3,), seed=5).worst
    inputs = torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(5))
    session = onnxruntime.InferenceSession(str(onnx_files["fp16"]), providers=["CPUExecutionProvider"])
    computed = session.run(["logits"], {"input": inputs.numpy()})[0]
    with torch.no_grad():
        expected = transformer(inputs).numpy()
    difference = np.abs(expected - computed).max()
    assert found.max_abs == pytest.approx(difference, rel=1e-3)
    assert found.relative == pytest.approx(difference / np.abs(expected).max(), rel=1e-3)


def test_another_weight_is_found(transformer: nn.Module, onnx_files: dict[str, Path], tmp_path: Path) -> None:
    model = onnx.load(str(onnx_files["fp32"]))
    bias = next(tensor for tensor in model.graph.initializer if tensor.name == "head.bias")
    changed = numpy_helper.to_array(bias).copy()
    changed[3] += 0.01
    bias.CopyFrom(numpy_helper.from_array(changed, bias.name))
    onnx.save(model, str(tmp_path / "model.onnx"))
    with pytest.raises(ExportError, match=r"at batch 1: 'logits' is off by 0.01, .* of its scale .* 0.0001 is allowed"):
        check_parity(transformer, tmp_path / "model.onnx")
    check_parity(transformer, tmp_path / "model.onnx", tolerance=0.1)


def test_a_fixed_batch_is_found(transformer: nn.Module, onnx_files: dict[str, Path], tmp_path: Path) -> None:
    model = onnx.load(str(onnx_files["fp32"]))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    onnx.save(model, str(tmp_path / "model.onnx"))
    with pytest.raises(ExportError, match="at batch 7"):
        check_parity(transformer, tmp_path / "model.onnx", batches=(2, 7))


def test_nan_is_a_difference(cnn: nn.Module, cnn_onnx: Path) -> None:
    broken = copy.deepcopy(cnn)
    with torch.no_grad():
        broken.head.bias[0] = float("nan")
    with pytest.raises(ExportError, match="off by nan"):
        check_parity(broken, cnn_onnx)
    with pytest.raises(ExportError, match=r"has the outputs \['logits'\], but the model returns"):
        check_parity(TwoOutputs(), cnn_onnx)


def test_bad_files_batches_and_no_onnxruntime(
    transformer: nn.Module, onnx_files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bad.onnx").write_bytes(onnx_files["fp32"].read_bytes()[:1000])
    with pytest.raises(ExportError, match=r"bad.onnx is not a readable ONNX model"):
        check_parity(transformer, tmp_path / "bad.onnx")
    with pytest.raises(ExportError, match="there is no ONNX model"):
        check_parity(transformer, tmp_path / "absent.onnx")
    for batches in ((), (0,)):
        with pytest.raises(ExportError, match="at least one is needed"):
            check_parity(transformer, onnx_files["fp32"], batches=batches)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'secateur\[cpu\]'"):
        check_parity(transformer, onnx_files["fp32"])
