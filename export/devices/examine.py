"""What a device is, and which of its sensors can be read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from secateur.core.errors import DeviceError
from secateur.core.files import read_json
from secateur.core.records import parse_record
from secateur.core.say import Say
from secateur.export.bundle.make import runner_files
from secateur.export.devices.device import Device
from secateur.export.devices.jobs import Job, run_job
from secateur.export.devices.transfer import ask

RUNTIMES = ("onnxruntime", "onnxruntime-gpu", "tensorrt", "tensorrt-rtx")


@dataclass(frozen=True)
class Contents:
    """What a device says of itself; `packages` has the versions of NumPy and the runtimes that its Python has."""

    python: str
    executable: str
    machine: str
    system: str
    host: str
    user: str
    model: str
    jetson_linux: str
    packages: Mapping[str, str]
    free_bytes: int
    stored_bytes: int
    jobs: tuple[str, ...]
    boot: str

    @property
    def lacks(self) -> tuple[str, ...]:
        """What is missing to measure there, each as a sentence."""
        found = []
        if "numpy" not in self.packages:
            found.append(f"NumPy is not installed for {self.executable}: `{self.executable} -m pip install numpy`")
        if not {*RUNTIMES} & {*self.packages}:
            found.append(
                f"no runtime is installed for {self.executable}: `{self.executable} -m pip install onnxruntime`, or "
                "name the Python that has JetPack's TensorRT with `secateur device add --python PATH --replace`"
            )
        return tuple(found)


@dataclass(frozen=True)
class Sensed:
    """The sensors of a device: name, kind and reading of each that can be read, settings, and what is absent."""

    probes: tuple[tuple[str, str, float], ...]
    settings: Mapping[str, str]
    absent: Mapping[str, str]


def contents(device: Device) -> Contents:
    """What a device says of itself now; raises `DeviceError` where it cannot be reached."""
    return parse_record(Contents, ask(device, "hello"), f"the answer of {device.name}", DeviceError, "update secateur")


def sensed(device: Device, say: Say = lambda message: None) -> Sensed:
    """What the device's sensors say now."""
    argv = ["{python}", "-m", "bundle_runner.sensors.inventory", "out/sensors.json"]
    job = Job(argv, runner_files(), ("sensors.json",))
    with TemporaryDirectory() as folder:
        (path,) = run_job(device, job, Path(folder), say=say)
        content = read_json(path, "inventory")
    return parse_record(Sensed, content, f"the answer of {device.name}", DeviceError, "update secateur")
