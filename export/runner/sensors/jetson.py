"""The power mode of a Jetson, and whether its clocks are pinned as `jetson_clocks` pins them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Callable, Optional

from .gpu_clocks import GPU
from .probe import SensorError, Sensors, numbered, text

Ask = Callable[[], Optional[str]]


def ask_nvpmodel() -> str | None:
    """What `nvpmodel -q` prints; None where there is no such program. Raises `SensorError` where it fails."""
    program = shutil.which("nvpmodel", path="/usr/sbin:/usr/bin:/sbin:/bin")
    if program is None:
        return None
    try:
        done = subprocess.run([program, "-q"], stdin=subprocess.DEVNULL, capture_output=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SensorError(f"{program} -q does not answer ({error})") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        raise SensorError(f"{program} -q fails ({said[-1]})")
    return done.stdout.decode(errors="replace")


def jetson(root: Path, ask: Ask = ask_nvpmodel) -> Sensors:
    """Settings `nvpmodel` (such as `MAXN (0)`) and `jetson_clocks` (`on` or `off`)."""
    settings: list[tuple[str, str]] = []
    absent: list[tuple[str, str]] = []
    try:
        settings.append(("nvpmodel", power_mode(ask())))
    except SensorError as error:
        absent.append(("nvpmodel", str(error)))
    try:
        settings.append(("jetson_clocks", "on" if _pinned(root) else "off"))
    except SensorError as error:
        absent.append(("jetson_clocks", str(error)))
    return Sensors((), tuple(settings), tuple(absent))


def power_mode(said: str | None) -> str:
    """The mode's name and number in the answer of `nvpmodel -q`: `NV Power Mode: MAXN`, then the number."""
    if said is None:
        raise SensorError("there is no program nvpmodel: this is no Jetson")
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    for line, after in zip(lines, lines[1:]):
        if line.startswith("NV Power Mode:") and after.isdigit():
            return f"{line.split(':', 1)[1].strip()} ({after})"
    raise SensorError(f"nvpmodel -q answers {said.strip()[:60]!r}, which names no mode")


def _pinned(root: Path) -> bool:
    """Whether the GPU and all processors have one clock only, their highest: `jetson_clocks` leaves them so."""
    gpus = [path for path in numbered(root / "sys/class/devfreq", "*") if GPU.search(path.name)]
    policies = numbered(root / "sys/devices/system/cpu/cpufreq", "policy*")
    if not gpus or not policies:
        raise SensorError("a GPU under devfreq and processors under cpufreq are not both here: this is no Jetson")
    ranges = [(one / "min_freq", one / "max_freq") for one in gpus]
    ranges += [(one / "scaling_min_freq", one / "scaling_max_freq") for one in policies]
    return all(text(low) == text(high) for low, high in ranges)
