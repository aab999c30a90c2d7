"""The GPU's clock among the devices of devfreq."""

from __future__ import annotations

from pathlib import Path

import pytest

from secateur.export.runner.sensors.gpu_clocks import GPU, gpu_clocks
from tests.export.runner.sensors.stand_ins import ORIN, planted


def test_the_gpu_is_found_among_other_devices(tmp_path: Path) -> None:
    found = gpu_clocks(planted(tmp_path, ORIN))
    assert {one.name: one.read() for one in found.probes} == {"gpu 17000000.gpu": pytest.approx(918.0)}
    assert ("gpu 17000000.gpu governor", "nvhost_podgov") in found.settings


def test_no_gpu_is_said(tmp_path: Path) -> None:
    assert [name for name, _ in gpu_clocks(tmp_path).absent] == ["gpu clock by devfreq"]


@pytest.mark.parametrize(
    ("name", "is_gpu"),
    [
        ("17000000.ga10b", True),
        ("57000000.gpu", True),
        ("gpu-gpc-0", True),
        ("15340000.vic", False),
        ("cactmon", False),
    ],
)
def test_names_of_gpus(name: str, is_gpu: bool) -> None:
    assert bool(GPU.search(name)) is is_gpu
