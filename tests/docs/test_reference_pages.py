"""The reference made from the code: nothing that users meet is missing, and equations need no script."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from types import ModuleType

import pytest

import secateur
from secateur.pipeline.runs.keys import describe_keys
from tests.docs.modules import loaded

ROOT = Path(__file__).parents[2]
FOLDERS = ("pipeline", "export", "benchmarks", "secateur", "kernels")
INSIDE = {
    "structure": "the saved model, described by sc.save",
    "judged": "what candidates of a plan cost, kept for a stop",
    "profile_part": "measurements kept for a stop",
    "rounds": "the plans of finished rounds, kept for a stop",
    "serving_folders": "which folders `secateur serving` made, so that it replaces no other",
    "trials": "graphs that a limit has tried, kept for a stop",
    "verify": "what the runner of a bundle answers over ssh",
    "inventory": "what a device answers over ssh",
    "build_here": "what a device answers over ssh",
    "on_device": "what a device answers over ssh",
    "devices": "the user's own list of devices",
    "trusted": "which functions this user has let recipes import",
    "kernel_resources": "a measurement of the repository itself",
    "gpu_suite": "a measurement of the repository itself",
}
"""Kinds of files that the reference leaves out, and why."""


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    pytest.importorskip("sphinx", reason="Sphinx is not installed: pip install '.[docs]'")
    return loaded("reference_pages")


def written_kinds() -> set[str]:
    """The kinds of JSON files that the code writes or reads, read from its calls."""
    found = set()
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*.py"):
            if "studies" in path.parts:
                continue
            tree = ast.parse(path.read_text(encoding="utf-8"))
            for node in ast.walk(tree):
                called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id
                if called in ("read_json", "write_json", "read_record", "write_record") and len(node.args) > 1:
                    kind = node.args[1]
                    if isinstance(kind, ast.Constant):
                        found.add(str(kind.value))
                    elif isinstance(kind, ast.Name) and kind.id.isupper():
                        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
                        name = module if folder == "secateur" else f"secateur.{module}"
                        found.add(getattr(importlib.import_module(name), kind.id, None))  # None: a function imports it
    return found - {None}


def test_every_file_that_users_meet_is_described(reference: ModuleType) -> None:
    described = {kind for kind, _ in reference.FORMATS.values()}
    assert written_kinds() >= described, "a format is described that nothing writes"
    new = written_kinds() - described - set(INSIDE)
    assert not new, f"describe these in FORMATS of docs/reference_pages.py, or say in INSIDE why not: {sorted(new)}"
    assert set(INSIDE) <= written_kinds()


def test_the_fields_of_a_file_are_those_of_its_dataclass(reference: ModuleType) -> None:
    rows = dict(reference.fields_of(reference.record_of("benchmarks.results_file:BenchResult")))
    assert rows["dense.macs"] and rows["environment.cpu_model"]
    for _, path in reference.FORMATS.values():
        assert len(list(reference.fields_of(reference.record_of(path)))) > 1, path


def test_every_public_name_is_under_one_heading(reference: ModuleType) -> None:
    names = [name for found in reference.names_by_room().values() for name, _ in found]
    assert sorted(names) == sorted(set(secateur.__all__) - {"__version__"})


def test_every_key_is_in_the_table_of_its_section(reference: ModuleType) -> None:
    rows = reference.rows_of_keys()
    assert sum(map(len, rows.values())) == len(describe_keys()) > 100
    assert "plan.align" in [key.name for key in rows["plan"]]
    assert reference.cell_of("a | b\nc") == "a \\| b c"


def test_equations_are_mathml(reference: ModuleType) -> None:
    from docutils import nodes

    shown = loaded("mathml")
    writer = type("Writer", (), {"body": []})()
    for show, node in ((shown.show_inline, nodes.math), (shown.show_block, nodes.math_block)):
        with pytest.raises(nodes.SkipNode):
            show(writer, node("", r"\frac{a}{b}"))
    assert all("<mfrac>" in text and "<script" not in text for text in writer.body)
