"""An example: a run's ONNX graph behind MLServer, a real server of the KServe v2 protocol (`pip install mlserver`).

It is not part of secateur. Beside this file and the graph, `model-settings.json` names the class:

    {"name": "half", "implementation": "onnx_model.OnnxModel", "parameters": {"uri": "./model.onnx"}}

Then `mlserver start .` serves it, and any client of the protocol asks it, `tritonclient` for one.
"""

from __future__ import annotations

import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from mlserver.utils import get_model_uri


class OnnxModel(MLModel):
    """A session of ONNX Runtime; inputs and outputs have the names of the graph."""

    async def load(self) -> bool:
        """Opens the graph that the settings name."""
        path = await get_model_uri(self._settings)
        self._session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """The outputs for one request."""
        feeds = {one.name: NumpyCodec.decode_input(one) for one in payload.inputs}
        names = [one.name for one in self._session.get_outputs()]
        found = zip(names, self._session.run(names, feeds), strict=True)
        outputs = [NumpyCodec.encode_output(name, array) for name, array in found]
        return InferenceResponse(model_name=self.name, outputs=outputs)
