from __future__ import annotations

from typing import Any

import pytest

from secateur.core.errors import SecateurError
from secateur.pipeline.analysis.spec import ReportSpec


def test_what_a_report_can_look_at() -> None:
    for rules in ("gradient", "epsilon", "gamma"):
        ReportSpec(0, 0, rules)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"images": -1}, "images is -1, but must be 0 or more"),
        ({"examples": -1}, "examples is -1, but must be 0 or more"),
        ({"rules": "epsilom"}, "rules: there is no composite 'epsilom': give epsilon"),
    ],
)
def test_other_values_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(SecateurError, match=rf"^report\.{words}"):
        ReportSpec(**changes)
