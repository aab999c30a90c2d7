"""The table of what versions can do."""

from __future__ import annotations

from types import ModuleType

import pytest

from secateur.core.errors import EngineError
from secateur.kernels.trt_features import FEATURES, Feature, features, has, having, require


def runtime(name: str, version: str) -> ModuleType:
    module = ModuleType(name)
    module.__version__ = version  # type: ignore[attr-defined]  # a module takes any attribute
    return module


SINCE_10_9 = {"ahead-of-time plugins", "same-capability engines"}


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("10.3.0", {"DLA", "weak typing"}),
        ("10.7.0", {"DLA", "weak typing"}),
        ("10.8.0.43", {"weak typing"}),
        ("10.9.0", {"weak typing"} | SINCE_10_9),
        ("10.13.3", {"weak typing"} | SINCE_10_9),
        ("10.14.1", {"weak typing", "attention operator", "padded heads"} | SINCE_10_9),
        ("11.0.0", {"attention operator", "padded heads"} | SINCE_10_9),
        ("11.1.0", {"attention operator", "padded heads", "build routes"} | SINCE_10_9),
        ("11.4.0.106", {"attention operator", "padded heads", "build routes"} | SINCE_10_9),
        ("11.4.1", {"attention operator", "padded heads", "build routes", "DLA"} | SINCE_10_9),
    ],
)
def test_what_versions_of_tensorrt_have(version: str, expected: set[str]) -> None:
    always = {"timing cache", "hardware-compatible engines", "version-compatible engines"}
    found = features(runtime("tensorrt", version))
    assert {feature for feature, there in found.items() if there} == expected | always


def test_tensorrt_rtx_counts_its_own_versions() -> None:
    rtx = runtime("tensorrt_rtx", "1.7.1.116")
    assert {feature for feature in FEATURES if has(rtx, feature)} == {"attention operator", "build routes"}


@pytest.mark.parametrize(
    ("feature", "words"),
    [
        ("ahead-of-time plugins", "TensorRT 10.9 and newer"),
        ("DLA", "TensorRT from 10.3 to before 10.8 or 11.4.1 and newer"),
        ("build routes", "TensorRT 11.1 and newer or TensorRT-RTX 1.7 and newer"),
    ],
)
def test_the_versions_in_words(feature: Feature, words: str) -> None:
    assert having(feature) == words


def test_what_is_lacking_is_said() -> None:
    require(runtime("tensorrt", "11.4.1"), "DLA", "the target tensorrt:dla")
    with pytest.raises(
        EngineError, match=r"^the target tensorrt:dla needs DLA, which TensorRT 11.4.0 lacks: TensorRT from 10.3 to"
    ):
        require(runtime("tensorrt", "11.4.0"), "DLA", "the target tensorrt:dla")
