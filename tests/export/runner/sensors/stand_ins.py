"""Stand-ins for hardware: sysfs trees as the kernel's documentation of each driver describes them, and an NVML.

No such device was at hand. Paths, units and labels are those of Documentation/hwmon/ina3221.rst,
admin-guide/pm/cpufreq.rst, driver-api/thermal/sysfs-api.rst, power/powercap/powercap.rst, the ABI of
sysfs-class-devfreq, and the NVML API reference.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HWMON, THERMAL = "sys/class/hwmon", "sys/class/thermal"
CPUFREQ, RAPL = "sys/devices/system/cpu/cpufreq", "sys/class/powercap"
GPU = "sys/class/devfreq/17000000.gpu"

ORIN = {
    f"{CPUFREQ}/policy0/scaling_governor": "schedutil",
    f"{CPUFREQ}/policy0/scaling_cur_freq": "1190400",
    f"{CPUFREQ}/policy0/scaling_min_freq": "729600",
    f"{CPUFREQ}/policy0/scaling_max_freq": "1984000",
    f"{GPU}/governor": "nvhost_podgov",
    f"{GPU}/cur_freq": "918000000",
    f"{GPU}/min_freq": "306000000",
    f"{GPU}/max_freq": "918000000",
    "sys/class/devfreq/15340000.vic/cur_freq": "115200000",
    f"{THERMAL}/thermal_zone0/type": "cpu-thermal",
    f"{THERMAL}/thermal_zone0/temp": "51250",
    f"{THERMAL}/thermal_zone1/type": "gpu-thermal",
    f"{THERMAL}/thermal_zone1/temp": "48500",
    f"{THERMAL}/cooling_device0/type": "pwm-fan",
    f"{THERMAL}/cooling_device0/cur_state": "2",
    f"{THERMAL}/cooling_device1/type": "cpufreq-cpu0",
    f"{THERMAL}/cooling_device1/cur_state": "0",
    f"{HWMON}/hwmon0/name": "soctherm_oc",
    f"{HWMON}/hwmon0/oc1_event_cnt": "0",
    f"{HWMON}/hwmon0/oc3_event_cnt": "4",
    f"{HWMON}/hwmon1/name": "ina3221",
    f"{HWMON}/hwmon1/in1_label": "VDD_IN",
    f"{HWMON}/hwmon1/in1_enable": "1",
    f"{HWMON}/hwmon1/in1_input": "5080",
    f"{HWMON}/hwmon1/curr1_input": "1250",
    f"{HWMON}/hwmon1/in2_label": "VDD_CPU_GPU_CV",
    f"{HWMON}/hwmon1/in2_enable": "1",
    f"{HWMON}/hwmon1/in2_input": "5072",
    f"{HWMON}/hwmon1/curr2_input": "320",
    f"{HWMON}/hwmon1/in3_label": "NC",
    f"{HWMON}/hwmon1/in3_enable": "0",
    f"{HWMON}/hwmon1/in3_input": "0",
    f"{HWMON}/hwmon1/in7_label": "sum of shunt voltages",
    f"{HWMON}/hwmon1/in7_input": "4710",
}
"""An Orin NX under JetPack 6."""

OLD_BUS = "sys/bus/i2c/drivers/ina3221x/7-0040/iio:device0"
OLD_JETSON = {
    f"{OLD_BUS}/rail_name_0": "POM_5V_IN",
    f"{OLD_BUS}/in_power0_input": "3042",
    f"{OLD_BUS}/rail_name_1": "POM_5V_GPU",
    f"{OLD_BUS}/in_power1_input": "121",
}
"""The monitor of a Jetson Nano under L4T 32."""

INTEL = {
    f"{RAPL}/intel-rapl:0/name": "package-0",
    f"{RAPL}/intel-rapl:0/energy_uj": "261000000000",
    f"{RAPL}/intel-rapl:0/max_energy_range_uj": "262143328850",
    f"{RAPL}/intel-rapl:0:0/name": "core",
    f"{RAPL}/intel-rapl:0:0/energy_uj": "1000",
    f"{RAPL}/intel-rapl:0:0/max_energy_range_uj": "262143328850",
    "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "0",
    "sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count": "7",
}
"""A processor with energy counters and counters of thermal throttling."""


def planted(root: Path, tree: Mapping[str, str]) -> Path:
    """The folder `root` with the files of a tree, each ending in a line feed as those of sysfs do."""
    for name, content in tree.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content + "\n")
    return root


class StandInNvml:
    """NVML with GPUs that say what they are told to; a function given an error code returns it instead."""

    def __init__(self, gpus: int = 1, **codes: int) -> None:
        self.codes, self.gpus = codes, gpus
        self.says: dict[str, int] = {
            "nvmlDeviceGetPowerUsage": 61_500,
            "nvmlDeviceGetTotalEnergyConsumption": 7_000_250,
            "nvmlDeviceGetCurrentClocksThrottleReasons": 0x1,
            "nvmlDeviceGetTemperature": 44,
        }
        self.clocks = {1: 1410, 2: 1215}

    def nvmlInit_v2(self) -> int:
        return self.codes.get("nvmlInit_v2", 0)

    def nvmlDeviceGetCount_v2(self, found: Any) -> int:
        found._obj.value = self.gpus
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index: int, handle: Any) -> int:
        handle._obj.value = 1 + index
        return self.codes.get("nvmlDeviceGetHandleByIndex_v2", 0)

    def nvmlDeviceGetClockInfo(self, handle: ctypes.c_void_p, kind: ctypes.c_uint, found: Any) -> int:
        found._obj.value = self.clocks[kind.value]
        return 0

    def __getattr__(self, name: str) -> Any:
        def function(handle: ctypes.c_void_p, *words: Any) -> int:
            words[-1]._obj.value = self.says[name]
            return self.codes.get(name, 0)

        return function
