"""The Python plugin, with the real base classes of TensorRT-RTX, which are those of TensorRT."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from secateur.kernels import launch as launching
from secateur.kernels.heads import HeadLayout
from secateur.kernels.launch import DeviceLimits
from secateur.kernels.trt_v3 import make_creator
from secateur.kernels.variants import Launch

LAYOUT = HeadLayout((16, 8), (8, 24), 0.5)


def test_the_classes_of_the_python_plugin(rtx: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the real bases, in the real registry: from fields to a plugin, to its clone, and to fields again."""
    assert rtx.get_plugin_registry().register_creator(make_creator(rtx), "secateur")
    creator = rtx.get_plugin_registry().get_creator("RaggedAttention", "1", "secateur")
    assert [field.name for field in creator.field_names] == ["qk_dims", "v_dims", "scale"]
    arrays = [np.array(LAYOUT.qk_dims, np.int32), np.array(LAYOUT.v_dims, np.int32), np.array([0.5], np.float32)]
    kinds = [rtx.PluginFieldType.INT32, rtx.PluginFieldType.INT32, rtx.PluginFieldType.FLOAT32]
    given = [rtx.PluginField(*field) for field in zip(("qk_dims", "v_dims", "scale"), arrays, kinds, strict=True)]
    plugin = creator.create_plugin("layer", rtx.PluginFieldCollection(given), rtx.TensorRTPhase.BUILD)
    copy = plugin.clone().attach_to_context(None)
    assert copy is not plugin and copy.layout == LAYOUT
    assert (copy.plugin_name, copy.plugin_version, copy.plugin_namespace) == ("RaggedAttention", "1", "secateur")
    kept = {field.name: np.array(field.data).tolist() for field in copy.get_fields_to_serialize()}
    assert kept == {"qk_dims": [16, 8], "v_dims": [8, 24], "scale": [0.5]}
    assert copy.get_output_data_types([rtx.float16]) == [rtx.float16]
    assert copy.get_capability_interface(rtx.PluginCapabilityType.BUILD) is copy


@pytest.mark.parametrize(
    ("types", "linear", "supported"),
    [
        (("float16", "float16"), True, True),
        (("bfloat16", "bfloat16"), True, True),
        (("float32", "float32"), True, True),
        (("float16", "float32"), True, False),
        (("int32", "int32"), True, False),
        (("float16", "float16"), False, False),
    ],
)
def test_formats_of_the_python_plugin(rtx: Any, types: tuple[str, str], linear: bool, supported: bool) -> None:
    plugin = make_creator(rtx).plugin(LAYOUT)
    tensors = [rtx.DynamicPluginTensorDesc() for _ in types]
    for tensor, kind in zip(tensors, types, strict=True):
        described = rtx.PluginTensorDesc()
        described.type = getattr(rtx, kind)
        described.format = rtx.TensorFormat.LINEAR if linear else rtx.TensorFormat.CHW32
        tensor.desc = described
    assert plugin.supports_format_combination(1, tensors, 1) is supported


def test_the_python_plugin_launches_in_the_streams_order(rtx: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = make_creator(rtx).plugin(LAYOUT)
    launched: list[tuple[Launch, list[Any]]] = []
    streams: list[int] = []

    class Within:
        def __init__(self, stream: int) -> None:
            self.stream = stream

        def __enter__(self) -> None:
            streams.append(self.stream)

        def __exit__(self, *error: object) -> None:
            streams.append(-1)

    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "ExternalStream", lambda stream, device: stream)
    monkeypatch.setattr(torch.cuda, "stream", Within)
    monkeypatch.setattr(launching, "device_limits", lambda device: DeviceLimits(87, 8, 163 * 1024))
    monkeypatch.setattr(launching, "table_on", lambda layout, device: layout.table)
    monkeypatch.setattr(launching, "run", lambda launch, values: launched.append((launch, values, *streams)))
    described = rtx.PluginTensorDesc()
    described.dims, described.type = (3, 37, LAYOUT.row_width), rtx.bfloat16
    plugin.enqueue([described], [described], [1000], [2000], 0, 77)
    launch, values, stream = launched[0]
    assert (launch.kernel, launch.grid[1], stream) == ("ragged_attention_bf16_d64_short208", 2, 77)
    assert values == [1000, None, None, 0, None, 0, LAYOUT.table, 37, 2000]
