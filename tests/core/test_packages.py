from __future__ import annotations

from importlib import metadata

import pytest

from secateur.core.packages import PACKAGES, version_of, versions


def test_versions_of_what_is_there_and_none_for_what_is_not() -> None:
    assert tuple(versions()) == PACKAGES
    assert version_of("torch") == metadata.version("torch")
    assert version_of("no-such-package") is None


@pytest.mark.parametrize(
    ("package", "distribution"), [("onnxruntime", "onnxruntime-gpu"), ("tensorrt_rtx", "tensorrt-rtx")]
)
def test_a_package_may_come_from_a_distribution_of_another_name(
    package: str, distribution: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def version(name: str) -> str:
        if name == distribution:
            return "1.2.3"
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    assert version_of(package) == "1.2.3"
