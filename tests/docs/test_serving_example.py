"""The example of a server: a graph behind a real one gives a client the logits that ONNX Runtime gives here."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from secateur.export.engines import open_engine
from secateur.export.inside import put_inside
from secateur.export.preprocessing import Preprocessing
from secateur.export.to_onnx import export_onnx

EXAMPLE = Path(__file__).parents[2] / "docs" / "serving" / "onnx_model.py"


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of a server of a graph that takes pixels, and the graph."""
    pytest.importorskip("mlserver", reason="mlserver is not installed")
    folder = tmp_path_factory.mktemp("served")
    shutil.copy(EXAMPLE, folder)
    model = nn.Sequential(nn.Conv2d(3, 4, 2), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 7 * 7, 5))
    export_onnx(model, folder / "plain.onnx", input_shape=(3, 8, 8))
    put_inside(folder / "plain.onnx", folder / "model.onnx", Preprocessing((3, 8, 8), (0.5,) * 3, (0.25,) * 3))
    settings = {"name": "half", "implementation": "onnx_model.OnnxModel", "parameters": {"uri": "./model.onnx"}}
    (folder / "model-settings.json").write_text(json.dumps(settings))
    http, grpc, metrics = free_ports(3)
    ports = {"host": "127.0.0.1", "http_port": http, "grpc_port": grpc, "metrics_port": metrics, "parallel_workers": 0}
    (folder / "settings.json").write_text(json.dumps(ports))
    with (folder / "log").open("w") as log:
        command = [sys.executable, "-m", "mlserver.cli.main", "start", "."]
        server = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        try:
            yield f"127.0.0.1:{http}", folder / "model.onnx"
        finally:
            server.terminate()
            server.wait(30)


def test_a_client_of_the_protocol_gets_the_same_logits(served: tuple[str, Path]) -> None:
    http = pytest.importorskip("tritonclient.http", reason="tritonclient[http] is not installed")
    address, graph = served
    client = http.InferenceServerClient(address)
    ends = time.monotonic() + 60
    while not ready(client):
        assert time.monotonic() < ends, (graph.parent / "log").read_text()[-2000:]
        time.sleep(0.2)
    assert client.get_model_metadata("half")["name"] == "half"
    pixels = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    given = http.InferInput("input", list(pixels.shape), "UINT8")
    given.set_data_from_numpy(pixels, binary_data=False)
    output = http.InferRequestedOutput("logits", binary_data=False)
    found = client.infer("half", [given], outputs=[output]).as_numpy("logits")
    with open_engine(graph, "onnxruntime:cpu") as engine:
        np.testing.assert_allclose(found, engine.infer({"input": pixels})["logits"], rtol=1e-5)


def ready(client: object) -> bool:
    """Whether the server answers and has the model."""
    try:
        return bool(client.is_model_ready("half"))  # type: ignore[attr-defined]  # the client has no types
    except Exception:  # it refuses connections until it listens
        return False
