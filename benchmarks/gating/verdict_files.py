"""A verdict as files that others read: JUnit XML for a CI server, Markdown for a pull request or a job's summary."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from secateur.benchmarks.checks import Check
from secateur.benchmarks.gate import Verdict
from secateur.export.markdown_text import markdown_line
from secateur.export.runner.text import shown

JUNIT_BEGINS = "<?xml version='1.0' encoding='utf-8'?>\n<testsuites name=\"secateur gate\""
MARKDOWN_BEGINS = "**secateur gate:"


def is_verdict(path: Path) -> bool:
    """Whether a file is empty, or begins as `junit` or `markdown` do: only such a one is written over."""
    with path.open("rb") as file:
        begin = file.read(len(JUNIT_BEGINS))
    return not begin or any(begin.startswith(word.encode()) for word in (JUNIT_BEGINS, MARKDOWN_BEGINS))


def junit(verdict: Verdict) -> str:
    """JUnit's XML: a test case for each check; what fails is a failure, and what is inconclusive an error."""
    open_, failed = (sum(check.outcome == word for check in verdict.checks) for word in ("inconclusive", "fail"))
    counts = {"tests": str(len(verdict.checks)), "failures": str(failed), "errors": str(open_)}
    root = ElementTree.Element("testsuites", {"name": "secateur gate", **counts})
    suite = ElementTree.SubElement(root, "testsuite", {"name": "secateur gate", **counts})
    for check in verdict.checks:
        where = ".".join(word for word in (check.device, check.target or "model") if word)
        place = {"classname": f"secateur.gate.{shown(where)}", "name": shown(_name(check))}
        case = ElementTree.SubElement(suite, "testcase", place)
        if check.outcome != "pass":
            kind = "failure" if check.outcome == "fail" else "error"
            ElementTree.SubElement(case, kind, {"message": shown(check.sentence), "type": check.outcome})
        else:
            ElementTree.SubElement(case, "system-out").text = shown(check.sentence)
    ElementTree.SubElement(suite, "system-out").text = shown("\n".join([verdict.sentence, *verdict.notes]))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def markdown(verdict: Verdict) -> str:
    """GitHub's Markdown: the verdict, a table of all checks, and the notes; nothing in it is read as markup."""
    lines = [f"{MARKDOWN_BEGINS} {markdown_line(verdict.sentence)}**", ""]
    lines += [f"| check | where | value | {verdict.interval} | limit | outcome |", "|---|---|---:|---|---:|---|"]
    for check in verdict.checks:
        known = check.low is not None and check.high is not None
        interval = f"{check.low:.3f} to {check.high:.3f}" if known else ""
        cells = (check.name, check.where, number(check.value), interval, number(check.limit), check.outcome)
        lines.append(f"| {' | '.join(map(markdown_line, cells))} |")
    if verdict.notes:
        lines += ["", *(f"* {markdown_line(note)}" for note in verdict.notes)]
    return "\n".join(lines) + "\n"


def number(value: float) -> str:
    """A value or a limit as a table shows it."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3f}"


def _name(check: Check) -> str:
    return f"{check.name}, batch {check.batch}" if check.batch else check.name
