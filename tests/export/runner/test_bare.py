"""The runner inside a bundle, by Pythons that have numpy and ONNX Runtime and nothing else of what secateur needs.

`make bare` makes these environments in `.bare/`, of the interpreters that there are, and runs this file.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from secateur.export.bundle.contents import Contents
from secateur.export.bundle.make import write_bundle

PYTHONS = ("3.8", "3.9", "3.10", "3.11", "3.12", "3.13")
BARE = Path(__file__).parents[3] / ".bare"
ABSENT = (
    "import importlib.util as u; print([n for n in ('torch', 'secateur', 'timm', 'onnx', 'scipy') if u.find_spec(n)])"
)


@pytest.fixture(params=PYTHONS)
def python(request: pytest.FixtureRequest) -> Path:
    """A Python of each version, with numpy and ONNX Runtime alone."""
    path = BARE / str(request.param) / "bin" / "python"
    if not path.exists():
        pytest.skip(f"there is no {path}: `make bare` makes it where a python{request.param} is installed")
    return path


def run(python: Path, bundle: Path, *words: object) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command = [str(python), "-m", "bundle_runner", *map(str, words)]
    return subprocess.run(command, cwd=bundle, env=kept, capture_output=True, text=True)


def test_verify_infer_and_bench(python: Path, bundle: Path, tmp_path: Path) -> None:
    done = subprocess.run([str(python), "-c", ABSENT], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    done = run(python, bundle, "verify", "--no-latency", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    passed = [(check["name"], check["where"]) for check in found["checks"] if check["outcome"] == "pass"]
    assert {("golden", "onnxruntime:cpu"), ("golden", "onnxruntime:cpu@fp16")} <= set(passed)
    done = run(python, bundle, "verify", "--no-latency")  # now that Python has left its cache beside the runner
    assert (done.returncode, "no checksum covers" in done.stdout) == (0, True)
    done = run(python, bundle, "infer", "golden/inputs.0.npy", "--top", 1)
    assert len(done.stdout.split()) == 6, done.stderr
    done = run(python, bundle, "bench", "--seconds", 0.05, "--json")
    assert len(json.loads(done.stdout)["samples_ns"]["pruned"]) >= 20, done.stderr


def test_what_is_wrong_is_a_sentence(python: Path, contents: Contents, bundle: Path, tmp_path: Path) -> None:
    write_bundle(contents, tmp_path / "x.tar")
    done = run(python, bundle, "verify", tmp_path / "x.tar", "--no-latency")
    assert done.returncode == 0, done.stderr
    (bundle / "labels.json").write_text("{}")
    done = run(python, bundle, "verify")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "labels.json has 2 bytes" in done.stderr
