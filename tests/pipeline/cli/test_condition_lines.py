"""What a device was like, as a person reads it."""

from __future__ import annotations

from secateur.export.runner.sensors.conditions import Conditions, Reading
from secateur.export.runner.sensors.energy import Energy
from secateur.pipeline.cli.condition_lines import condition_lines


def test_settings_energy_temperatures_and_what_is_not_there() -> None:
    hot, power = (
        Reading("cpu", "temperature_c", 40.0, 41.0, 61.3, 50.0),
        Reading("VDD_IN", "power_w", 4.0, 4.5, 9.0, 5.0),
    )
    watts, count = {"idle_w": 4.0, "idle_error_w": 0.1, "run_w": 9.0, "run_error_w": 0.1}, 100
    spent = Energy(
        rail="VDD_IN", board=True, seconds=1.0, inferences=count, mj=12.35, mj_error=0.5, model="pruned", **watts
    )
    seen = Conditions({"governor": "schedutil", "jetson_clocks": "off"}, (hot, power), (spent,), (), (), {"nvml": "no"})
    assert list(condition_lines("orin", {"onnxruntime:cpu": seen})) == [
        "orin: governor schedutil, jetson_clocks off",
        "orin: onnxruntime:cpu: pruned, VDD_IN: 12.35 +- 0.50 mJ, idle 4.00 W",
        "orin: onnxruntime:cpu: cpu up to 61.3 C",
        "orin: not there: nvml",
    ]


def test_a_device_that_says_nothing_of_itself_and_one_that_has_all() -> None:
    seen = Conditions({}, (), (), (), (), {})
    lines = list(condition_lines("pc", {"a": seen, "b": seen}))
    assert lines == 2 * ["pc: no settings can be read", "pc: every sensor is there"]
