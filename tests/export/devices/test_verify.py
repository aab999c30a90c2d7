"""A bundle that is verified on a device, behind a stand-in for ssh."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from secateur.export.bundle.make import write_bundle
from secateur.export.devices.device import Remote
from secateur.export.devices.verify import verify_there
from secateur.export.runner.errors import BundleError
from secateur.export.runner.verify import verify
from tests.export.conftest import needs_ort
from tests.export.devices.stand_in_ssh import StandIn
from tests.export.small_bundle import make_contents


@needs_ort
def test_the_verdict_is_that_which_is_given_here(stand_in: StandIn, tmp_path: Path) -> None:
    remote = Remote(replace(stand_in.device, python=sys.executable))
    bundle = tmp_path / "linear.tar"
    write_bundle(make_contents(tmp_path), bundle)
    options = {"seconds": 1.0, "latency": False, "threads": None}
    there = verify_there(remote, bundle, [], say=print, **options)  # type: ignore[arg-type]  # as they are named
    here = verify(bundle, **options)  # type: ignore[arg-type]  # as they are named
    assert (there.checks[1:], there.outcome) == (here.checks[1:], "pass")  # the first names the bundle
    bundle.write_bytes(bundle.read_bytes()[:-20000])
    before = stand_in.calls
    with pytest.raises(BundleError):
        verify_there(remote, bundle, [], say=print, **options)  # type: ignore[arg-type]  # as they are named
    assert stand_in.calls == before  # nothing damaged is sent
