"""Whatever a name holds, a console shows it as text; and there is no other way to a terminal."""

from __future__ import annotations

import ast
import io
from pathlib import Path

import click
import pytest
from rich.table import Table

import secateur.pipeline.cli as cli
from secateur.export.runner.text import shown
from secateur.pipeline.cli.common import echo
from secateur.pipeline.cli.progress import Progress
from secateur.pipeline.report.console import InertConsole
from tests.hostile import HOSTILE

ROOMS = [Path("pipeline/cli"), Path("pipeline/report"), Path("pipeline/demo")]
PRINTERS = {"print", "Console", "escape"}
MAY = {  # what prints scripts and JSON as they are, and the ways themselves
    "pipeline/cli/__init__.py": 3,
    "pipeline/cli/common.py": 2,
    "pipeline/cli/completion.py": 1,
    "pipeline/cli/recipes.py": 1,
    "pipeline/report/console.py": 0,
    "pipeline/demo/train.py": 1,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_texts_cells_and_titles_are_shown_as_they_are(name: str) -> None:
    file = io.StringIO()
    console = InertConsole(file=file, force_terminal=True, color_system=None, width=2000, legacy_windows=False)
    table = Table("name", title=name, box=None)
    table.add_row(name)
    console.print(table)
    console.print(name, soft_wrap=True)
    said = file.getvalue()
    line = shown(name, lines=False)
    assert len(said.splitlines()) == 4  # a title, a head, a row and the text
    assert said.splitlines()[-1] == line.expandtabs(8)
    assert " ".join(line.split()) in " ".join(said.splitlines()[2].split())
    assert said.isprintable() or set(said) - set("\n") == {one for one in said if one.isprintable()}


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_takes_no_stage_and_no_message_for_markup(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    options = {"file": file, "force_terminal": terminal, "color_system": None, "width": 2000}
    monkeypatch.setattr("secateur.pipeline.cli.progress.InertConsole", lambda stderr: InertConsole(**options))
    with Progress() as told:
        for name in HOSTILE:
            told("score", name)
            told("score", f"done: {name}")
    for name in HOSTILE:
        assert f"done: {shown(name, lines=False)}" in file.getvalue()


def test_errors_and_words_begin_no_line_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    for name in HOSTILE:
        for error in (cli.SecateurError(name), OSError(name), click.UsageError(name), ValueError(name)):

            def fails(*words: object, error: Exception = error, **more: object) -> None:
                raise error

            monkeypatch.setattr(cli.cli, "main", fails)
            with pytest.raises(SystemExit):
                cli.main(["run", name])
    echo("\n".join(HOSTILE))
    said = capsys.readouterr()
    assert all(line.startswith(("secateur: ", "Error: ", "  ")) for line in said.err.splitlines())
    assert len(said.out.splitlines()) == 1
    assert all(one.isprintable() or one in "\n\t" for one in said.err + said.out)


def test_nothing_else_prints() -> None:
    found = {}
    for path in (path for room in ROOMS for path in sorted(room.glob("*.py"))):
        calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        names = [call.attr for call in calls if isinstance(call, ast.Attribute) and ast.unparse(call) == "click.echo"]
        names += [call.id for call in calls if isinstance(call, ast.Name) and call.id in PRINTERS]
        if names:
            found[str(path)] = len(names)
    assert found == {path: count for path, count in MAY.items() if count}
