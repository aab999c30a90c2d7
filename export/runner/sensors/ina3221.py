"""The power rails of a Jetson, measured by its INA3221 monitors.

Sources: Documentation/hwmon/ina3221.rst of Linux (JetPack 5 and newer: `inN_input` in mV, `currN_input` in mA); the
older driver's files on the I2C bus (`rail_name_N`, `in_powerN_input` in mW) are those of NVIDIA's L4T up to 32.
"""

from __future__ import annotations

from pathlib import Path

from .probe import POWER_W, Probe, SensorError, Sensors, file_probe, number, numbered, readable, text

BOARD = ("VDD_IN", "POM_5V_IN")
"""Rails that feed the whole module, by NVIDIA's names. Other rails are parts, and may feed one another."""


def ina3221(root: Path) -> Sensors:
    """Power in watts of every rail."""
    probes: list[Probe] = []
    absent: list[tuple[str, str]] = []
    for chip in numbered(root / "sys/class/hwmon", "hwmon*"):
        try:
            if text(chip / "name") != "ina3221":
                continue
            for channel in (1, 2, 3):
                if (chip / f"in{channel}_input").exists() and _enabled(chip, channel):
                    probes.append(_rail(chip, channel))
        except SensorError as error:
            absent.append((f"power rails of {chip.name}", str(error)))
    for rail in sorted((root / "sys/bus/i2c/drivers/ina3221x").glob("*/iio*device*/rail_name_*")):
        channel_name = rail.name.rsplit("_", 1)[1]
        try:
            probes.append(file_probe(text(rail), POWER_W, rail.parent / f"in_power{channel_name}_input", 1e-3))
        except SensorError as error:
            absent.append((f"power rail {rail}", str(error)))
    if not probes and not absent:
        absent.append(("power rails (INA3221)", "no monitor of that kind is in /sys/class/hwmon or on the I2C bus"))
    return readable(probes, absent)


def _enabled(chip: Path, channel: int) -> bool:
    path = chip / f"in{channel}_enable"
    return not path.exists() or text(path) != "0"


def _rail(chip: Path, channel: int) -> Probe:
    volts, amperes = chip / f"in{channel}_input", chip / f"curr{channel}_input"
    label = chip / f"in{channel}_label"
    name = text(label) if label.exists() else f"{chip.name} channel {channel}"
    return Probe(name, POWER_W, lambda: number(volts, 1e-3) * number(amperes, 1e-3))
