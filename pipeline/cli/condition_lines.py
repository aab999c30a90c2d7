"""What a device was like during work, as lines of a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from secateur.export.runner.sensors.conditions import Conditions


def condition_lines(device: str, conditions: Mapping[str, Conditions]) -> Iterator[str]:
    """Its settings, and for each name of what was done there the energy and the highest temperatures."""
    for name, seen in conditions.items():
        settings = ", ".join(f"{setting} {value}" for setting, value in seen.settings.items())
        yield f"{device}: {settings or 'no settings can be read'}"
        for one in seen.energy:
            model = f"{one.model}, " if one.model else ""
            yield f"{device}: {name}: {model}{one.rail}: {one.mj:.2f} +- {one.mj_error:.2f} mJ, idle {one.idle_w:.2f} W"
        for reading in seen.readings:
            if reading.kind == "temperature_c":
                yield f"{device}: {name}: {reading.name} up to {reading.highest:.1f} C"
        yield f"{device}: not there: {', '.join(seen.absent)}" if seen.absent else f"{device}: every sensor is there"
