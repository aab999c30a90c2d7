"""The verdict for CI servers and pull requests: every check is there, and no name in it becomes markup."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from secateur.benchmarks.checks import Check, Outcome
from secateur.benchmarks.gate import Verdict, judge
from secateur.benchmarks.gating.verdict_files import junit, markdown, number
from secateur.benchmarks.limits import Limits
from tests.benchmarks.samples import result

HOSTILE = "\ud800a|b `c` <img src=x onerror=alert(1)> [l](http://x) @team\n# h \x00\x1b[31m & ]]>"


def verdict_of(*outcomes: Outcome) -> Verdict:
    checks = [Check(f"check {word}", 1, 2, word, f"it {word}", 0.5, 1.5, "onnxruntime:cpu", 8) for word in outcomes]
    return Verdict(outcomes[-1], tuple(checks), ("a note",))


def test_each_check_is_a_test_case() -> None:
    root = ElementTree.fromstring(junit(verdict_of("pass", "inconclusive", "fail")))
    assert (root.attrib["tests"], root.attrib["failures"], root.attrib["errors"]) == ("3", "1", "1")
    cases = root.findall("./testsuite/testcase")
    assert [case.attrib["name"] for case in cases] == [
        "check pass, batch 8",
        "check inconclusive, batch 8",
        "check fail, batch 8",
    ]
    assert [[child.tag for child in case] for case in cases] == [["system-out"], ["error"], ["failure"]]
    (failure,) = root.findall(".//failure")
    assert failure.attrib["message"] == "it fail"
    assert "a note" in (root.findtext("./testsuite/system-out") or "")


def test_a_real_verdict_stands_in_the_table() -> None:
    verdict = judge(result(1.5), None, Limits(min_speedup=1.3, max_drop=8))
    lines = markdown(verdict).splitlines()
    assert lines[0].startswith("**secateur gate: pass")
    rows = [line for line in lines if line.startswith("| ")]
    assert len(rows) == 3
    assert "| speedup | onnxruntime:cpu batch 1 | 1.498 |" in rows[1]
    assert rows[2].endswith("| 8.000 | pass |")


@pytest.mark.parametrize("form", [junit, markdown])
def test_names_are_inert(form: object) -> None:
    check = Check(HOSTILE, 1, 2, "fail", HOSTILE, target=HOSTILE)
    text = form(Verdict("fail", (check,), (HOSTILE,)))  # type: ignore[operator]
    assert text.encode()  # of what no file can hold
    if form is junit:
        assert [element.tag for element in ElementTree.fromstring(text).iter()][:3] == [
            "testsuites",
            "testsuite",
            "testcase",
        ]
    else:
        assert "<img" not in text.replace("\\<img", "")
        assert not any(line.startswith("#") for line in text.splitlines())
        assert all(line.replace("\\|", "").count("|") == 7 for line in text.splitlines() if line.startswith("|"))


def test_numbers() -> None:
    assert [number(value) for value in (1.23456, 1234567.0, -2000.0)] == ["1.235", "1,234,567", "-2,000"]
