"""JSON from strangers: what is read, what is refused, and that nothing else reads JSON."""

from __future__ import annotations

import ast
import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.core.json_text import DEEPEST, parse_json, read_json_text

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
DEEP = "[" * 5_000
ROOT = Path(__file__).parents[2]
OTHERS = {
    "secateur/core/json_text.py": "the reader",
    "secateur/core/files.py": "the header of a safetensors file that was written in the line before",
    "pipeline/models/origin.py": "a copy of plain values in memory",
    "pipeline/models/architecture.py": "a copy of plain values in memory",
    "export/runner/fields.py": "the reader of bundles, which has no secateur beside it",
    "export/runner/sensors/watcher.py": "what a process of our own says",
    "export/runner/verify_there.py": "a job that the host has written",
    "export/runner/on_device.py": "a job that the host has written, and the answer of a process of our own",
    "export/runner/build_here.py": "a job that the host has written",
    "export/devices/agent.py": "what the host asks for; there is no secateur beside it",
    "benchmarks/layers/ort_layers.py": "a profile that this process has just written",
    "benchmarks/layers/torch_layers.py": "a profile that this process has just written",
    "benchmarks/gating/placed.py": "a profile that this process has just written",
}
"""The modules that read JSON by themselves, and why they may."""


@settings(max_examples=25)
@given(VALUES)
def test_what_json_has_comes_back(value: object) -> None:
    text = json.dumps(value)
    assert parse_json(text) == value
    assert parse_json(text.encode()) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (DEEP, "lie in each other more than 100 deep"),
        ('{"a":' * 5_000, "lie in each other more than 100 deep"),
        ('"\\"]]]]" '.join(["["] * (DEEPEST + 1)), "lie in each other more than 100 deep"),
        (f'{{"a": "{"]" * 5_000}", "b": {DEEP}', "lie in each other more than 100 deep"),
        ("1" * 5_000, r"11111\.\.\. is larger than any number that is counted"),
        ("-" + "1" * 5_000, r"is larger than any number that is counted"),
        ("1e999", "1e999 is larger than any number that is measured"),
        ("[NaN]", "NaN is no number of JSON"),
        ("-Infinity", "-Infinity is no number of JSON"),
        ('{"a": {"b": 1, "b": 2}}', "the name 'b' stands twice in an object"),
        ('"' + "[" * 5_000, "Unterminated string"),
        ("", "Expecting value"),
        (b"\xff\xfe", "can't decode"),
    ],
)
def test_what_json_has_not_or_exceeds_a_bound_is_refused(text: str | bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_json(text)


def test_brackets_in_texts_are_no_nesting() -> None:
    value = ["[" * 5_000, '\\"{', [[]] * 500, [{}] * 500]
    assert parse_json(json.dumps(value)) == value


def test_files_are_bounded_before_they_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "long").write_text(" " * 11 + "1")
    assert read_json_text(tmp_path / "long") == 1
    for path, most, message in (
        (tmp_path / "long", 11, "has 12 bytes, but at most 11"),
        (tmp_path / "pipe", 9, "pipe"),
    ):
        with pytest.raises(ValueError, match=message):
            read_json_text(path, most)
    with pytest.raises(OSError, match="absent"):
        read_json_text(tmp_path / "absent")


def readers() -> set[str]:
    """The modules of the product in which the json module reads something."""
    found = set()
    for folder in ("secateur", "pipeline", "export", "benchmarks", "kernels"):
        for path in (ROOT / folder).rglob("*.py"):
            name = path.relative_to(ROOT).as_posix()
            if name.startswith("benchmarks/studies/"):
                continue
            text = path.read_text(encoding="utf-8")
            if "import json" in text or "from json" in text:
                found |= {name} if _reads(ast.parse(text)) else set()
    return found


def _reads(tree: ast.Module) -> bool:
    direct = {"load", "loads", "JSONDecoder"}
    return any(
        (
            isinstance(node, ast.Attribute)
            and node.attr in direct
            and isinstance(node.value, ast.Name)
            and node.value.id == "json"
        )
        or (isinstance(node, ast.ImportFrom) and node.module == "json" and direct & {name.name for name in node.names})
        for node in ast.walk(tree)
    )


def test_no_other_module_reads_json() -> None:
    assert readers() == {*OTHERS}, "read JSON by secateur.core.json_text, or say in OTHERS why not"
