"""Parameters of which `make test` takes some, and the nightly target the others, which hold the same more often."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TypeVar

import pytest
from _pytest.mark.structures import ParameterSet

Value = TypeVar("Value")


def mostly_nightly(values: Iterable[Value], now: Collection[Value]) -> list[ParameterSet]:
    """All values as parameters, those marked that are not taken `now`; raises `ValueError` for one of these in vain."""
    every = list(values)
    if unknown := [value for value in now if value not in every]:
        raise ValueError(f"{unknown} are none of the parameters")
    return [pytest.param(value, marks=[] if value in now else [pytest.mark.nightly]) for value in every]
