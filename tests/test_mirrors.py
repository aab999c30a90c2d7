"""Every module that can be wrong has its test at the mirrored path.

`pipeline/plan/knapsack.py` is tested by `tests/pipeline/plan/test_knapsack.py`, `secateur/core/files.py` by
`tests/core/test_files.py`, and the code of a package itself (`pipeline/cli/__init__.py`) by
`tests/pipeline/cli/test_cli.py`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TESTS = {"secateur": "tests"} | {
    folder: f"tests/{folder}" for folder in ("pipeline", "kernels", "export", "benchmarks")
}
"""For each folder of the product where its tests are."""
STUDIES = ROOT / "benchmarks" / "studies"
WITHOUT_A_TEST: tuple[str, ...] = ()
"""Modules whose tests are still to be written; nothing may be added."""


def modules() -> Iterator[tuple[Path, Path]]:
    """All modules of the product, each with the file that tests it."""
    for folder, tests in TESTS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            if STUDIES not in path.parents and path.name != "__main__.py":
                name = path.parent.name if path.name == "__init__.py" else path.stem
                yield path, ROOT / tests / path.parent.relative_to(ROOT / folder) / f"test_{name}.py"


def can_be_wrong(source: str) -> bool:
    """Whether any function of a module does something: has more than a docstring, an ellipsis or nothing."""
    functions = [
        node for node in ast.walk(ast.parse(source)) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]
    return any(not _says_only(statement) for function in functions for statement in function.body)


def _says_only(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Pass) or (
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    )


def has_tests(path: Path) -> bool:
    """Whether a file is there and holds at least one test."""
    if not path.exists():
        return False
    found = (node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef))
    return any(name.startswith("test_") for name in found)


def untested() -> list[str]:
    """The modules that can be wrong and have no test of their own."""
    return [
        path.relative_to(ROOT).as_posix()
        for path, test in modules()
        if can_be_wrong(path.read_text()) and not has_tests(test)
    ]


def test_every_module_that_can_be_wrong_has_its_test() -> None:
    missing = [name for name in untested() if name not in WITHOUT_A_TEST]
    assert not missing, "\n".join([f"{len(missing)} modules have no test at the mirrored path:", *missing])


@pytest.mark.parametrize(
    ("source", "wrong"),
    [
        ('"""Nothing."""\nSIZE = 3\n', False),
        ("class Spec:\n    size: int = 3\n", False),
        ('class Score(Protocol):\n    def __call__(self, x: int) -> int:\n        """One."""\n        ...\n', False),
        ("def one() -> int:\n    return 1\n", True),
        ("class A:\n    @property\n    def one(self) -> int:\n        return 1\n", True),
        ("async def one() -> int:\n    return 1\n", True),
    ],
)
def test_what_can_be_wrong_has_a_function_that_does_something(source: str, wrong: bool) -> None:
    assert can_be_wrong(source) == wrong


def test_a_file_without_tests_is_no_test(tmp_path: Path) -> None:
    path = tmp_path / "test_knapsack.py"
    assert not has_tests(path)
    path.write_text("def helper() -> None:\n    pass\n")
    assert not has_tests(path)
    path.write_text("class TestPlans:\n    def test_one(self) -> None:\n        assert True\n")
    assert has_tests(path)
