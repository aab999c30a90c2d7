"""The plugin for TensorRT 10.3 to 10.5 (JetPack 6): a Python IPluginV3, needed at build time and at run time."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
import torch

from secateur.kernels import launch as launching
from secateur.kernels.heads import HeadLayout
from secateur.kernels.onnx_function import ATTRIBUTES, DOMAIN, NAME, VERSION
from secateur.kernels.variants import ragged_launch


def make_creator(trt: ModuleType) -> Any:
    """The creator of the plugin, for `get_plugin_registry().register_creator(creator, DOMAIN)`.

    Its classes have bases from the module `trt`, which is known at run time only.
    """
    bases = (trt.IPluginV3, trt.IPluginV3OneCore, trt.IPluginV3OneBuild, trt.IPluginV3OneRuntime)
    plugin = type("RaggedAttentionPlugin", (_Plugin, *bases), {"trt": trt, "bases": bases})
    creator = type("RaggedAttentionCreator", (_Creator, trt.IPluginCreatorV3One), {"trt": trt, "plugin": plugin})
    return creator()


class _Plugin:
    """Attention over `qkv` `[B, N, .]` for the heads of one layer; TensorRT calls all of its methods."""

    trt: Any
    bases: tuple[Any, ...]

    def __init__(self, layout: HeadLayout) -> None:
        for base in self.bases:
            base.__init__(self)
        self.layout = layout
        self.plugin_name, self.plugin_version, self.plugin_namespace = NAME, str(VERSION), DOMAIN
        self.num_outputs = 1

    def get_capability_interface(self, kind: Any) -> _Plugin:
        return self

    def get_output_data_types(self, input_types: Sequence[Any]) -> list[Any]:
        return [input_types[0]]

    def get_output_shapes(self, inputs: Sequence[Any], shape_inputs: Sequence[Any], builder: Any) -> list[Any]:
        out = self.trt.DimsExprs(3)
        out[0], out[1], out[2] = inputs[0][0], inputs[0][1], builder.constant(self.layout.out_width)
        return [out]

    def supports_format_combination(self, position: int, tensors: Sequence[Any], inputs: int) -> bool:
        one = tensors[position].desc
        linear = one.format == self.trt.TensorFormat.LINEAR
        return bool(linear and one.type in _words(self.trt) and one.type == tensors[0].desc.type)

    def get_fields_to_serialize(self) -> Any:
        self.fields, self.kept = _fields(self.trt, self.layout.qk_dims, self.layout.v_dims, (self.layout.scale,))
        return self.fields

    def configure_plugin(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        """Nothing depends on the shapes before a launch."""

    def on_shape_change(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        """Nothing depends on the shapes before a launch."""

    def attach_to_context(self, context: Any) -> _Plugin:
        return self.clone()

    def clone(self) -> _Plugin:
        return type(self)(self.layout)

    def enqueue(
        self,
        input_desc: Sequence[Any],
        output_desc: Sequence[Any],
        inputs: Sequence[int],
        outputs: Sequence[int],
        workspace: int,
        stream: int,
    ) -> None:
        """Launches in the stream of the engine's execution."""
        batch, tokens = (int(size) for size in tuple(input_desc[0].dims)[:2])
        if not batch * tokens:
            return
        device = torch.device("cuda", torch.cuda.current_device())
        word = _words(self.trt)[input_desc[0].type]
        launch = ragged_launch(self.layout, word, batch, tokens, launching.device_limits(device))
        table = launching.table_on(self.layout, device)
        theirs = torch.cuda.ExternalStream(stream, device=device)  # type: ignore[no-untyped-call]  # of torch
        with torch.cuda.stream(theirs):
            launching.run(launch, [inputs[0], None, None, 0, None, 0, table, tokens, outputs[0]])


class _Creator:
    """Makes the plugin from the attributes of the ONNX node, or from what `get_fields_to_serialize` gave."""

    trt: Any
    plugin: Any

    def __init__(self) -> None:
        self.trt.IPluginCreatorV3One.__init__(self)
        self.name, self.plugin_version, self.plugin_namespace = NAME, str(VERSION), DOMAIN
        self.field_names, self.kept = _fields(self.trt, (), (), ())

    def create_plugin(self, name: str, collection: Any, phase: Any) -> _Plugin:
        found = {field.name: np.array(field.data).ravel() for field in collection}
        qk_dims, v_dims = (tuple(int(n) for n in found[key]) for key in ATTRIBUTES[:2])
        plugin: _Plugin = self.plugin(HeadLayout(qk_dims, v_dims, float(found["scale"][0])))
        return plugin


def _words(trt: Any) -> dict[Any, str]:
    """Our names of the element types that the kernels take."""
    return {trt.float32: "fp32", trt.float16: "fp16", trt.bfloat16: "bf16"}


def _fields(trt: Any, *values: Sequence[float]) -> tuple[Any, list[Any]]:
    """The node's attributes as fields of a plugin, and the objects that the fields point to without holding them."""
    kinds = ((np.int32, trt.PluginFieldType.INT32),) * 2 + ((np.float32, trt.PluginFieldType.FLOAT32),)
    arrays = [np.asarray(value, kind) for value, (kind, _) in zip(values, kinds, strict=True)]
    fields = [
        trt.PluginField(name, array, field) for name, array, (_, field) in zip(ATTRIBUTES, arrays, kinds, strict=True)
    ]
    return trt.PluginFieldCollection(fields), [*arrays, *fields]
