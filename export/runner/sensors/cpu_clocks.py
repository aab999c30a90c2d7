"""The governor and the clocks of the processors, and how often they were throttled.

Source: Documentation/admin-guide/pm/cpufreq.rst of Linux; the throttle counters are those of x86's `therm_throt`.
"""

from __future__ import annotations

from pathlib import Path

from .probe import CLOCK_MHZ, THROTTLE_COUNT, Probe, SensorError, Sensors, file_probe, numbered, readable, text

FOLDER = "sys/devices/system/cpu"
MHZ = 1e-3
"""cpufreq counts in kHz."""


def cpu_clocks(root: Path) -> Sensors:
    """Clocks in MHz and the governor of every policy (a set of processors with one clock), and throttle counters."""
    folder = root / FOLDER
    policies = numbered(folder / "cpufreq", "policy*")
    probes: list[Probe] = [file_probe(f"cpu {one.name}", CLOCK_MHZ, one / "scaling_cur_freq", MHZ) for one in policies]
    for path in numbered(folder, "cpu[0-9]*"):
        for count in sorted((path / "thermal_throttle").glob("*_throttle_count")):
            probes.append(file_probe(f"{path.name} {count.name.split('_')[0]} throttling", THROTTLE_COUNT, count))
    absent: list[tuple[str, str]] = []
    settings: list[tuple[str, str]] = []
    if not policies:
        absent.append(("cpu clocks", f"there is no {folder / 'cpufreq'}/policy*: this kernel governs no clocks"))
    for one in policies:
        for name in ("scaling_governor", "scaling_min_freq", "scaling_max_freq"):
            try:
                settings.append((f"cpu {one.name} {name}", text(one / name)))
            except SensorError as error:
                absent.append((f"cpu {one.name} {name}", str(error)))
    found = readable(probes, absent)
    return Sensors(found.probes, tuple(settings), found.absent)
