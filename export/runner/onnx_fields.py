"""Numbers of the fields of onnx.proto (ONNX 1.19) that more than one reader looks at."""

from __future__ import annotations

MODEL_GRAPH = 7
GRAPH_NODE, GRAPH_TENSOR = 1, 5
NODE_INPUT, NODE_KIND = 1, 4
TENSOR_TYPE, TENSOR_NAME = 2, 8
