"""Parameters that are left to the nightly target, and those that are not."""

from __future__ import annotations

import pytest

from tests.later import mostly_nightly


def test_all_are_there_and_some_are_marked() -> None:
    found = mostly_nightly("abc", "b")
    assert [(one.values[0], [mark.name for mark in one.marks]) for one in found] == [
        ("a", ["nightly"]),
        ("b", []),
        ("c", ["nightly"]),
    ]


def test_a_name_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\['d'\] are none of the parameters"):
        mostly_nightly("abc", "d")
