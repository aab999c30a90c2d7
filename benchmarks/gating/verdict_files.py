"""A verdict as files that others read: JUnit XML for a CI server, Markdown for a pull request or a job's summary."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from secateur.benchmarks.checks import Check
from secateur.benchmarks.gate import Verdict

_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that no XML 1.0 document may hold."""


def junit(verdict: Verdict) -> str:
    """JUnit's XML: a test case for each check; what fails is a failure, and what is inconclusive an error."""
    open_, failed = (sum(check.outcome == word for check in verdict.checks) for word in ("inconclusive", "fail"))
    counts = {"tests": str(len(verdict.checks)), "failures": str(failed), "errors": str(open_)}
    root = ElementTree.Element("testsuites", {"name": "secateur gate", **counts})
    suite = ElementTree.SubElement(root, "testsuite", {"name": "secateur gate", **counts})
    for check in verdict.checks:
        place = {"classname": f"secateur.gate.{_xml(check.target or 'model')}", "name": _xml(_name(check))}
        case = ElementTree.SubElement(suite, "testcase", place)
        if check.outcome != "pass":
            kind = "failure" if check.outcome == "fail" else "error"
            ElementTree.SubElement(case, kind, {"message": _xml(check.sentence), "type": check.outcome})
        else:
            ElementTree.SubElement(case, "system-out").text = _xml(check.sentence)
    ElementTree.SubElement(suite, "system-out").text = _xml("\n".join([verdict.sentence, *verdict.notes]))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def markdown(verdict: Verdict) -> str:
    """GitHub's Markdown: the verdict, a table of all checks, and the notes; nothing in it is read as markup."""
    lines = [f"**secateur gate: {_inert(verdict.sentence)}**", ""]
    lines += [f"| check | where | value | {verdict.interval} | limit | outcome |", "|---|---|---:|---|---:|---|"]
    for check in verdict.checks:
        known = check.low is not None and check.high is not None
        interval = f"{check.low:.3f} to {check.high:.3f}" if known else ""
        cells = (check.name, check.where, number(check.value), interval, number(check.limit), check.outcome)
        lines.append(f"| {' | '.join(map(_inert, cells))} |")
    if verdict.notes:
        lines += ["", *(f"* {_inert(note)}" for note in verdict.notes)]
    return "\n".join(lines) + "\n"


def number(value: float) -> str:
    """A value or a limit as a table shows it."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3f}"


def _name(check: Check) -> str:
    return f"{check.name}, batch {check.batch}" if check.batch else check.name


def _xml(text: str) -> str:
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)


def _inert(text: str) -> str:
    """The text with everything escaped that Markdown or HTML would read, on one line."""
    return re.sub(r"([\\`*_{}\[\]()#+!|<>~&@])", r"\\\1", " ".join(_xml(text).split()))
