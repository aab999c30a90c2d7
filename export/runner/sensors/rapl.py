"""The energy counters of Intel's and AMD's processors (running average power limit).

Source: Documentation/power/powercap/powercap.rst of Linux. Since Linux 5.10 only root may read them (CVE-2020-8694).
"""

from __future__ import annotations

from pathlib import Path

from .probe import ENERGY_J, Probe, SensorError, Sensors, file_probe, number, numbered, readable, text

JOULE = 1e-6


def rapl(root: Path) -> Sensors:
    """Joules of every package; a counter begins anew after its `max_energy_range_uj`."""
    folder = root / "sys/class/powercap"
    probes: list[Probe] = []
    absent: list[tuple[str, str]] = []
    zones = [path for path in numbered(folder, "intel-rapl:*") if path.name.count(":") == 1]
    if not zones:
        absent.append(("energy of the processor (RAPL)", f"there is no {folder}/intel-rapl:*"))
    for zone in zones:
        try:
            most = number(zone / "max_energy_range_uj", JOULE)
            probes.append(file_probe(f"RAPL {text(zone / 'name')}", ENERGY_J, zone / "energy_uj", JOULE, most))
        except SensorError as error:
            absent.append((f"energy of the processor ({zone.name})", str(error)))
    return readable(probes, absent)
