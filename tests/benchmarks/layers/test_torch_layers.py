"""Operations of PyTorch are of the innermost module that calls them, with their own times or those of their kernels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from secateur.benchmarks.layers.graph_work import WHOLE
from secateur.benchmarks.layers.module_work import ModuleWork
from secateur.benchmarks.layers.torch_layers import LAYER, TorchLayers, times_of
from secateur.core.errors import BenchError
from secateur.core.input_spec import InputSpec
from tests.benchmarks.layers.test_module_work import Small


def test_a_model_under_the_profiler(tmp_path: Path) -> None:
    model = Small()
    layers = TorchLayers(model, InputSpec.shaped((6,)), "cpu", 3, tmp_path / "trace")
    layers.run()  # which is not recorded
    for _ in range(2):
        with layers.recording():
            layers.run()
            layers.run()
    found = layers.finish()
    layers.close()
    called = [(one.layer, one.kind, one.macs) for one in found.operations]
    assert called == [
        ("fc.0", "aten::linear", 72),
        ("fc.1", "aten::relu", 0),
        (WHOLE, "aten::transpose", 0),
        (WHOLE, "aten::matmul", 36),
    ]
    assert (layers.recorded, found.ms.shape) == (4, (4, 4))
    assert (found.ms > 0).all()
    assert layers.most_runs > 100
    assert not any(module._forward_hooks for module in model.modules())


class Changing(nn.Module):
    """Calls one operation more in every run."""

    def __init__(self) -> None:
        super().__init__()
        self.runs = 0

    def forward(self, rows: Tensor) -> Tensor:
        if not torch.jit.is_tracing():
            self.runs += 1
        for _ in range(self.runs):
            rows = torch.relu(rows)
        return rows


def test_runs_that_differ_and_none_at_all_are_refused(tmp_path: Path) -> None:
    layers = TorchLayers(Changing(), InputSpec.shaped((6,)), "cpu", 1, tmp_path / "trace")
    with pytest.raises(BenchError, match="holds no operation of the model"):
        layers.finish()
    for _ in range(2):
        with layers.recording():
            layers.run()
    with pytest.raises(BenchError, match=r"runs differ .* such as onnxruntime:cpu"):
        layers.finish()


def _event(cat: str, name: str, ts: float, dur: float, number: int = 0) -> dict[str, Any]:
    return {"ph": "X", "cat": cat, "name": name, "ts": ts, "dur": dur, "args": {"External id": number}}


def _run(start: float) -> list[dict[str, Any]]:
    """A module that attends, by a kernel that its operation chooses, and copies; an addition after it."""
    first = int(start)  # the numbers of operations go on from run to run
    return [
        _event("user_annotation", LAYER, start, 100),
        _event("user_annotation", f"{LAYER}attn", start + 5, 60),
        _event("cpu_op", "aten::scaled_dot_product_attention", start + 10, 30, first + 1),
        _event("cpu_op", "aten::_scaled_dot_product_attention_math", start + 12, 26, first + 2),
        _event("cpu_op", "aten::bmm", start + 14, 20, first + 3),
        _event("cpu_op", "aten::contiguous", start + 50, 10, first + 4),
        _event("cpu_op", "aten::add", start + 70, 4, first + 5),
        _event("kernel", "gemm", start + 200, 4, first + 3),
        _event("kernel", "reduce", start + 206, 3, first + 3),
        _event("kernel", "softmax", start + 220, 2, first + 2),
        _event("gpu_memcpy", "copy", start + 230, 3, first + 4),
        _event("gpu_user_annotation", LAYER, start + 200, 50),
    ]


WORK = {"attn": ModuleWork(macs=90, bytes_moved=30)}


def test_the_kernel_that_an_operation_chooses_is_told() -> None:
    found = times_of([*_run(0), *_run(1000)], WORK)
    kinds = ["aten::scaled_dot_product_attention (_scaled_dot_product_attention_math)", "aten::contiguous", "aten::add"]
    assert [one.kind for one in found.operations] == kinds
    assert [one.layer for one in found.operations] == ["attn", "attn", WHOLE]
    assert [one.moves for one in found.operations] == [False, True, False]
    assert [(one.macs, one.bytes_moved) for one in found.operations] == [(90, 30), (0, 0), (0, 0)]
    np.testing.assert_allclose(found.ms, [[0.03, 0.01, 0.004]] * 2)


def test_on_a_gpu_the_times_are_those_of_the_kernels() -> None:
    found = times_of([*_run(0), *_run(1000)], WORK, cuda=True)
    np.testing.assert_allclose(found.ms, [[0.009, 0.003, 0.0]] * 2)
