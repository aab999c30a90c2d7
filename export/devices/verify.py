"""A bundle that is verified on a device."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from secateur.core.errors import DeviceError
from secateur.core.files import read_json
from secateur.core.records import parse_record
from secateur.core.say import Say
from secateur.export.bundle.make import runner_files
from secateur.export.devices.device import Remote
from secateur.export.devices.jobs import Job, run_job
from secateur.export.devices.transfer import Source
from secateur.export.runner.bundle import open_bundle
from secateur.export.runner.manifest import NAME
from secateur.export.runner.verify import OUTCOMES, Verdict


def verify_there(
    remote: Remote,
    bundle: Path,
    targets: Sequence[str],
    *,
    seconds: float,
    latency: bool,
    threads: int | None,
    say: Say,
) -> Verdict:
    """The verdict of a device on a bundle, whose checksums are checked here and again there.

    Raises `RunnerError` for a bundle that is damaged here, `DeviceError` where the device cannot be reached or refuses.
    """
    settings = {"targets": list(targets), "seconds": seconds, "latency": latency, "threads": threads}
    with open_bundle(bundle) as found, TemporaryDirectory() as folder:
        files: dict[str, Source] = {**runner_files(), "job.json": json.dumps(settings).encode()}
        files.update({f"bundle/{name}": found.root / name for name in (NAME, *found.manifest.files)})
        argv = ["{python}", "-m", "bundle_runner.verify_there", "job.json", "bundle", "out/verdict.json"]
        job = Job(argv, files, ("verdict.json",))
        (path,) = run_job(remote.device, job, Path(folder), keep=remote.keep, say=say)
        where = f"the answer of {remote.device.name}"
        verdict = parse_record(Verdict, read_json(path, "verify"), where, DeviceError, "update secateur")
    if not verdict.checks or not {check.outcome for check in verdict.checks} <= OUTCOMES:
        raise DeviceError(
            f"{where} has no checks, or such as do not end in {', '.join(sorted(OUTCOMES))}: update secateur"
        )
    return verdict
