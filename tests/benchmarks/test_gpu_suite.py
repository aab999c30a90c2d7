"""The GPU suite's command: its prediction, what it refuses, and what it needs to run at all."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from secateur.benchmarks.gpu_problems import problems
from secateur.benchmarks.gpu_suite import main
from secateur.benchmarks.roofline import PEAKS, peak_of
from secateur.kernels.launch import why_not
from secateur.kernels.resource_report import read_report

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
RESOURCES = ["--resources", str(RESULTS / "kernel_resources.json")]
H100 = peak_of("NVIDIA H100 80GB HBM3")
KERNELS = read_report(RESULTS / "kernel_resources.json").kernels
BARE = """
import sys
from importlib.util import find_spec

class Bare:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in %r:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Bare())
from secateur.benchmarks.gpu_suite import main
sys.exit(main(sys.argv[1:]))
"""
"""The suite without these packages: a bare machine has CUDA, PyTorch, NumPy and NVIDIA's one file for NVML."""

ABSENT = ("pydantic", "click", "timm", "torchvision", "onnx", "onnxscript", "safetensors", "scipy", "yaml", "rich",
          "fvcore", "optuna", "accelerate", "matplotlib", "sklearn", "jinja2", "PIL", "pycuda")  # fmt: skip


@pytest.mark.nightly
def test_on_a_bare_machine_the_suite_predicts(tmp_path: Path) -> None:
    out = tmp_path / "prediction.json"
    command = [sys.executable, "-P", "-c", BARE % (ABSENT,), "--dry", "--device", H100.name, *RESOURCES]
    done = subprocess.run([*command, "--out", str(out)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    content = json.loads(out.read_text())
    assert (content["schema"], content["mode"]) == ("secateur.gpu_suite/1", "prediction")
    assert "not measured" in content["note"] and len(content["rows"]) == len(problems())
    for row in content["rows"]:
        assert row["launched_floor_us"] >= row["roofline_us"] > 0
        assert "times_us" not in row


def test_the_committed_prediction_is_of_these_kernels() -> None:
    """Otherwise: python -P -m secateur.benchmarks.gpu_suite --dry."""
    content = json.loads((RESULTS / "gpu_suite_prediction.json").read_text())
    assert content["mode"] == "prediction"
    for row in content["rows"]:
        peak = peak_of(row["device"])
        own = {one.kernel: one for one in KERNELS if one.architecture == peak.capability}
        assert row["registers"] == own[row["variant"]].registers
    assert {row["device"] for row in content["rows"]} <= {peak.name for peak in PEAKS}


@pytest.mark.skipif(not why_not(), reason="kernels can be launched here")
def test_without_a_gpu_the_suite_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*RESOURCES, "--out", str(tmp_path / "result.json")]) == 2
    said = capsys.readouterr().err
    assert "cannot run here" in said and "use --dry" in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dry", "--device", "Tesla T5", *RESOURCES], "peaks of 'Tesla T5' are not known; did you mean 'Tesla T4'"),
        (["--dry", "--resources", "/nowhere.json"], "cannot read /nowhere.json"),
        ([*RESOURCES, "--samples", "0"], "0 samples were asked for: there must be at least 1"),
    ],
)
def test_bad_input_is_one_sentence(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
