"""End to end over a real sshd, by a Python without torch: add, doctor, build, bench through a drop, verify."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from secateur.benchmarks.results_file import read_bench
from secateur.export.bundle.make import write_bundle
from secateur.pipeline.runs import runner
from tests.benchmarks.tiny_graphs import tiny_graph
from tests.export.devices.sshd import Sshd, missing, serving
from tests.export.runner.test_bare import BARE, PYTHONS
from tests.export.small_bundle import make_contents
from tests.pipeline.cli.conftest import Command

FOUND = [path for name in PYTHONS if (path := BARE / name / "bin" / "python").exists()]
pytestmark = [
    pytest.mark.skipif(bool(missing()), reason=missing()),
    pytest.mark.skipif(not FOUND, reason=f"there is no Python without torch in {BARE}: `make bare` makes them"),
]


def drop_once_it_works(sshd: Sshd, killed: list[int]) -> None:
    """Kills every connection as soon as a job has begun to write."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if any(path.stat().st_size for path in sshd.folder.glob("cache/secateur/jobs/*/log")):
            killed.append(sshd.drop())
            return
        time.sleep(0.01)


def test_from_the_first_contact_to_a_verdict(
    run_dir: Path, secateur: Command, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path_factory.mktemp("d")
    monkeypatch.setattr(runner, "run_stages", lambda run, until, *more: None)  # the graph is there already
    graph, dense = tiny_graph(run_dir / "model.onnx"), tiny_graph(run_dir / "model.dense.onnx", 50)
    write_bundle(make_contents(folder), folder / "linear")
    with serving(folder, monkeypatch, str(FOUND[0])) as sshd:
        secateur("device", "add", "orin", sshd.device.address, "--python", FOUND[0])
        about = json.loads(secateur("device", "doctor", "orin", "--json").stdout)
        assert {*about["packages"]} == {"numpy", "onnxruntime"} and about["sensors"]
        secateur("build", run_dir, "--device", "orin")
        assert (run_dir / "devices/orin/engines/onnxruntime-cpu/model.engine").read_bytes() == graph.read_bytes()
        killed: list[int] = []
        killer = threading.Thread(target=drop_once_it_works, args=[sshd, killed])
        killer.start()
        out = run_dir / "orin.json"
        secateur("bench", graph, "--against", dense, "--device", "orin", "--seconds", 1, "--out", out)
        killer.join()
        assert killed and killed[0]
        result = read_bench(out)
        assert result.device == "orin" and result.speedup["onnxruntime:cpu"].low > 1
        assert result.environment.versions["onnxruntime"] == about["packages"]["onnxruntime"]
        done = secateur("verify", folder / "linear", "--device", "orin", "--no-latency")
        assert done.exit_code == 0 and done.output.splitlines()[-1].startswith("orin: pass (")
        assert not list((folder / "cache/secateur/jobs").iterdir())
        secateur("device", "remove", "orin", "--wipe")
        assert not (folder / "cache/secateur").exists()
