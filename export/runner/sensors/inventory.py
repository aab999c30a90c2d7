"""All sensors of this machine."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from .cpu_clocks import cpu_clocks
from .gpu_clocks import gpu_clocks
from .ina3221 import ina3221
from .jetson import Ask, ask_nvpmodel, jetson
from .nvml import load, nvml
from .probe import Sensors, joined
from .rapl import rapl
from .thermal import thermal

SCHEMA = "secateur.inventory/1"


def inventory(root: Path = Path("/"), library: Any | None = None, ask: Ask = ask_nvpmodel) -> Sensors:
    """What can be read under `root` and from NVML (`library`: a stand-in), and by name what cannot and why."""
    sources = (cpu_clocks(root), gpu_clocks(root), thermal(root), ina3221(root), rapl(root), jetson(root, ask))
    return joined((*sources, nvml(load() if library is None else library)))


def main(out: Path) -> None:
    """Writes what can be read now, the settings, and what is absent, as JSON."""
    found = inventory()
    content = {
        "schema": SCHEMA,
        "probes": [[probe.name, probe.kind, probe.read()] for probe in found.probes],
        "settings": dict(found.settings),
        "absent": dict(found.absent),
    }
    out.write_text(json.dumps(content) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
