"""Every command and snippet of the README and the documentation: marked, right by its words, and run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest

from secateur.pipeline.runs.recipe import read_recipe
from tests.docs.snippets import PAGES, ROOT, Snippet, commands, pages_with, parse_command, run_block, snippets, words_of

ALL = [snippet for page in PAGES for snippet in snippets(page)]
COMMANDS = [(one, line) for one in ALL if one.language in ("", "sh") for line in commands(one.text) if words_of(line)]
RECIPES = [one for one in ALL if one.mark == "file" and one.language == "yaml"]


def test_every_block_is_run_or_has_a_reason() -> None:
    bare = [one.where for one in ALL if not one.mark or (one.mark in ("shown", "file", "tested by") and not one.rest)]
    assert not bare, f"mark these blocks (tests/docs/snippets.py says how): {', '.join(bare)}"
    assert len(ALL) > 40


def test_a_block_that_a_test_of_its_own_runs_is_named_by_that_test() -> None:
    for one in ALL:
        if one.mark == "tested by":
            assert one.page.name in (ROOT / one.rest).read_text(encoding="utf-8"), one.where


def test_every_command_is_one_that_secateur_takes() -> None:
    assert len(COMMANDS) > 40
    for one, line in COMMANDS:
        try:
            parse_command(words_of(line))
        except click.ClickException as error:
            pytest.fail(f"{one.where}: `{line}`: {error.format_message()}")


@pytest.mark.parametrize("snippet", RECIPES, ids=lambda one: one.where)
def test_every_recipe_is_read(snippet: Snippet, tmp_path: Path) -> None:
    (tmp_path / snippet.rest).write_text(snippet.text, encoding="utf-8")
    recipe = read_recipe(tmp_path / snippet.rest)
    assert recipe.model.name and recipe.budget.measure


def take(page: Path, mark: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs all blocks of a page that have this mark, and its files, in an empty folder."""
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    names: dict[str, Any] = {}
    for snippet in pages_with(mark)[page]:
        run_block(snippet, folder, names)


@pytest.mark.parametrize("page", pages_with("run"), ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    take(page, "run", tmp_path, monkeypatch)


@pytest.mark.nightly
@pytest.mark.parametrize("page", pages_with("nightly"), ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_is_walked(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    take(page, "nightly", tmp_path, monkeypatch)


# --- the collector itself ---

TEXT = """<!-- run -->
```python
x = 1
```

```
secateur doctor
```
<!-- nightly: 0 3 -->
```
secateur gate runs/half \\
    --min-speedup 1.3   # a limit
python3 -m secateur doctor
tar -xf a.tar
```
"""


def test_blocks_are_found_with_their_marks_and_commands_without_comments() -> None:
    one, two, three = snippets(ROOT / "README.md", TEXT)
    assert (one.language, one.mark, one.line, one.text) == ("python", "run", 2, "x = 1\n")
    assert (two.mark, two.rest) == ("", "")
    assert (three.mark, three.codes) == ("nightly", {0, 3})
    lines = commands(three.text)
    assert lines == ["secateur gate runs/half --min-speedup 1.3", "python3 -m secateur doctor", "tar -xf a.tar"]
    assert [words_of(line) for line in lines] == [["gate", "runs/half", "--min-speedup", "1.3"], ["doctor"], []]


@pytest.mark.parametrize(
    "line", ["secateur gaet runs/half", "secateur gate runs/half --min-sped 1", "secateur inspect"]
)
def test_a_command_that_secateur_does_not_take_is_noticed(line: str) -> None:
    with pytest.raises(click.ClickException):
        parse_command(words_of(line))


def test_a_block_that_fails_fails(tmp_path: Path) -> None:
    def block(text: str, language: str = "", mark: str = "run", rest: str = "") -> Snippet:
        return Snippet(ROOT / "README.md", 1, language, text, mark, rest)

    with pytest.raises(AssertionError, match=r"README\.md:1: `secateur inspect no/such\.onnx` ended with 2"):
        run_block(block("secateur inspect no/such.onnx\n"), tmp_path, {})
    run_block(block("secateur inspect no/such.onnx\n", rest="2"), tmp_path, {})
    with pytest.raises(AssertionError, match="ended with 1"):
        run_block(block("false\n"), tmp_path, {})
    with pytest.raises(ZeroDivisionError):
        run_block(block("1 / 0\n", "python"), tmp_path, {})
    run_block(block("content", mark="file", rest="a.txt"), tmp_path, {})
    assert (tmp_path / "a.txt").read_text() == "content"
