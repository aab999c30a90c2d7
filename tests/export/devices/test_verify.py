"""A bundle that is verified on a device, behind a stand-in for ssh."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from secateur.core.errors import DeviceError
from secateur.core.files import write_json
from secateur.export.bundle.make import write_bundle
from secateur.export.devices import verify as module
from secateur.export.devices.device import Device, Remote
from secateur.export.devices.jobs import Job
from secateur.export.devices.verify import verify_there
from secateur.export.onnx_info import onnx_info
from secateur.export.runner.bundle import open_bundle
from secateur.export.runner.errors import BundleError
from secateur.export.runner.verify import verify
from tests.export.conftest import needs_ort
from tests.export.devices.stand_in_ssh import StandIn
from tests.export.small_bundle import make_contents


@needs_ort
def test_the_verdict_is_that_which_is_given_here(stand_in: StandIn, tmp_path: Path) -> None:
    remote = Remote(replace(stand_in.device, python=sys.executable))
    bundle, contents = tmp_path / "linear.tar", make_contents(tmp_path)
    first, graph = contents.graphs[0], tmp_path / "apart" / "model.onnx"
    graph.parent.mkdir()
    onnx.save(onnx.load(first.pruned.path), graph, save_as_external_data=True, location="w.data", size_threshold=0)
    graphs = [replace(first, pruned=onnx_info(graph, "w.data")), *contents.graphs[1:]]
    write_bundle(replace(contents, graphs=graphs), bundle)
    options = {"seconds": 1.0, "latency": False, "threads": None}
    there = verify_there(remote, bundle, [], say=print, **options)  # type: ignore[arg-type]  # as they are named
    here = verify(bundle, **options)  # type: ignore[arg-type]  # as they are named
    with open_bundle(bundle) as opened:
        assert {"onnx/w.data", "dense/model.fp32.onnx"} < {*opened.manifest.files}
    assert (there.checks[1:-1], there.outcome) == (here.checks[1:], "pass")  # the first names the bundle
    assert there.checks[-1].name == "throttling" and there.conditions is not None and here.conditions is None
    bundle.write_bytes(bundle.read_bytes()[:-20000])
    before = stand_in.calls
    with pytest.raises(BundleError):
        verify_there(remote, bundle, [], say=print, **options)  # type: ignore[arg-type]  # as they are named
    assert stand_in.calls == before  # nothing damaged is sent


@pytest.mark.parametrize("outcomes", [[], ["pass", "won"]])
def test_a_verdict_that_no_runner_gives_is_refused(
    outcomes: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, bundle: Path
) -> None:
    def run_job(device: Device, job: Job, out: Path, **options: object) -> list[Path]:
        checks = [{"name": "golden", "where": "x", "outcome": outcome, "said": ""} for outcome in outcomes]
        write_json(out / "verdict.json", "verify", {"bundle": "x", "checks": checks, "notes": []})
        return [out / "verdict.json"]

    monkeypatch.setattr(module, "run_job", run_job)
    options = {"seconds": 1.0, "latency": False, "threads": None}
    with pytest.raises(DeviceError, match="the answer of orin has no checks"):
        verify_there(Remote(Device("orin", "x")), bundle, [], say=print, **options)  # type: ignore[arg-type]  # as they are named
