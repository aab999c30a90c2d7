"""Golden outputs are what the graph computes, image by image."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from secateur.core.errors import ExportError
from secateur.export.bundle.contents import Contents
from secateur.export.bundle.golden import golden_outputs
from tests.export.conftest import needs_ort

pytestmark = needs_ort


def test_outputs_are_those_of_the_graph(contents: Contents) -> None:
    graph = contents.graphs[0].pruned
    weight = numpy_helper.to_array(onnx.load(graph.path).graph.initializer[0])
    (found,) = golden_outputs(graph, contents.inputs).values()
    np.testing.assert_allclose(found, contents.inputs["input"].reshape(3, 16) @ weight, rtol=1e-5, atol=1e-5)


def test_inputs_that_do_not_fit_or_overflow(contents: Contents) -> None:
    graph = contents.graphs[0].pruned
    with pytest.raises(ExportError, match=r"cannot run model\.onnx on the golden images"):
        golden_outputs(graph, {"input": np.zeros((1, 1, 5, 4), np.float32)})
    with pytest.raises(ExportError, match="not finite"):
        golden_outputs(graph, {"input": np.full((1, 1, 4, 4), np.inf, np.float32)})
    with pytest.raises(ExportError, match="there is no ONNX model at"):
        golden_outputs(dataclasses.replace(graph, path=graph.path.with_name("absent.onnx")), contents.inputs)
