"""Names that stay in a bundle on every file system, and those that do not."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur.export.runner.errors import BundleError
from secateur.export.runner.names import check_apart, checked_name


@pytest.mark.parametrize("name", ["MANIFEST.json", "onnx/model.fp16.onnx", "engines/tensorrt_rtx-sm_86/model.engine"])
def test_a_plain_name(name: str) -> None:
    assert checked_name(name, "x") == name


@pytest.mark.parametrize(
    "name",
    [
        *(
            "",
            "/etc/passwd",
            "../up",
            "a/../b",
            "a/./b",
            "a//b",
            "a/",
            "C:/x",
            "C:x",
            "\\\\host\\x",
            "a\\b",
            "a b",
            "a\nb",
        ),
        *("é", "a\0b", ".hidden", "-rf", "nul", "a/CON.txt", "x.", "a" * 161, "/".join("a" * 9)),
    ],
)
def test_a_name_that_leads_elsewhere_or_that_a_system_refuses(name: str) -> None:
    with pytest.raises(BundleError, match="x names"):
        checked_name(name, "x")


@given(st.text("aZ9._-@+/\\: .é\0", max_size=20))
def test_what_passes_lies_below_the_folder(name: str) -> None:
    try:
        checked_name(name, "x")
    except BundleError:
        return
    path = PurePosixPath(name)
    assert not path.is_absolute() and ".." not in path.parts and str(path) == name and name.isascii()


@pytest.mark.parametrize("names", [["a/B", "A/b"], ["a", "a/b"], ["A/x/y", "a/X"]])
def test_names_that_are_one_file_on_some_systems(names: list[str]) -> None:
    with pytest.raises(BundleError, match="names"):
        check_apart(names, "x")
    check_apart(["a/b", "a/c", "ab"], "x")
