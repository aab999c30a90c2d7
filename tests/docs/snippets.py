"""The fenced blocks of the documentation, and what the comment before each says of running it.

`<!-- run -->`: by `make test`; `<!-- nightly -->`: by `make test-docs`, with its exit codes where they are not 0 alone
(`nightly: 0 3`). `<!-- file NAME -->`: a file that the page's blocks find. `<!-- shown: REASON -->`: not run.
`<!-- tested by PATH -->`: a test of its own runs it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from click.testing import CliRunner

from secateur.pipeline.cli import cli, main

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", ROOT / "benchmarks/results/README.md", *sorted((ROOT / "docs").rglob("*.md")))
_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>[\w{}-]*)[^\n]*\n(?P<text>.*?)^ *```$", re.M | re.S)
_MARK = re.compile(r"<!-- (?P<word>run|nightly|file|shown|tested by)(?::? (?P<rest>[^>]*?))? -->\s*\Z")


@dataclass(frozen=True)
class Snippet:
    """A block on a page, from its `line` on: the word that marks it (empty: none) and the rest of the mark."""

    page: Path
    line: int
    language: str
    text: str
    mark: str
    rest: str

    @property
    def where(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def codes(self) -> set[int]:
        """The exit codes that its commands may end with."""
        return {int(word) for word in self.rest.split()} or {0}


def snippets(page: Path, text: str | None = None) -> Iterator[Snippet]:
    """The blocks of a page; Sphinx's own (`{toctree}`) are none."""
    text = page.read_text(encoding="utf-8") if text is None else text
    for found in _FENCE.finditer(text):
        if not found["language"].startswith("{"):
            mark = _MARK.search(text[: found.start()])
            line = text[: found.start()].count("\n") + 1
            word, rest = (mark["word"], mark["rest"] or "") if mark else ("", "")
            yield Snippet(page, line, found["language"], found["text"], word, rest)


def commands(text: str) -> list[str]:
    """The command lines of a block, without comments, continued lines as one."""
    lines = re.sub(r"\s*\\\n\s*", " ", text).splitlines()
    return [line for line in (re.sub(r"(^|\s)#.*", "", line).strip() for line in lines) if line]


def words_of(line: str) -> list[str]:
    """The words after `secateur` of a command line, as a shell would split them; none of another command's."""
    import shlex

    words = shlex.split(line)
    if "-m" in words and words[words.index("-m") + 1] == "secateur":
        return words[words.index("-m") + 2 :]
    return words[1:] if words[0] == "secateur" else []


def parse_command(words: list[str]) -> None:
    """Has click read a command's words without running it; raises `click.ClickException` for those that it refuses."""
    group: click.Command = cli
    context = click.Context(cli, info_name="secateur")
    while isinstance(group, click.Group):
        name, command, words = group.resolve_command(context, words)
        assert command is not None
        group, context = command, click.Context(command, parent=context, info_name=name)
    group.parse_args(context, list(words))


def run_block(snippet: Snippet, folder: Path, names: dict[str, Any]) -> None:
    """Runs a block in `folder`, which is the working folder; Python's sees and adds to `names`."""
    if snippet.mark == "file":
        (folder / snippet.rest).write_text(snippet.text, encoding="utf-8")
    elif snippet.language == "python":
        exec(compile("\n" * snippet.line + snippet.text, str(snippet.page), "exec"), names)
    else:
        _run_commands(snippet, folder)


def _run_commands(snippet: Snippet, folder: Path) -> None:
    """Runs the lines of a block: secateur's in this process, all others by a shell, where `cd` led."""
    here = folder
    for line in commands(snippet.text):
        if line.startswith("cd "):
            here = here / line.removeprefix("cd ")
        elif words := words_of(line):
            _ends(snippet, line, *_run_here(words))
        else:
            line = line.replace("python3", sys.executable, 1) if line.startswith("python3 ") else line
            env = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}  # as a reader's shell
            done = subprocess.run(["bash", "-c", line], cwd=here, env=env, capture_output=True, text=True, check=False)
            _ends(snippet, line, done.returncode, done.stdout + done.stderr)


def _run_here(words: list[str]) -> tuple[int, str]:
    """The exit code of a command of secateur, and what it printed."""

    @click.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []})
    @click.pass_context
    def command(context: click.Context) -> None:
        main([*context.args])

    done = CliRunner().invoke(command, words)
    return done.exit_code, done.output


def _ends(snippet: Snippet, line: str, code: int, output: str) -> None:
    assert code in snippet.codes, f"{snippet.where}: `{line}` ended with {code}: {output[-2000:]}"


def pages_with(mark: str) -> Mapping[Path, list[Snippet]]:
    """The pages that have blocks of this mark, each with these and its files, in their order."""
    found = {page: [one for one in snippets(page) if one.mark in (mark, "file")] for page in PAGES}
    return {page: blocks for page, blocks in found.items() if any(one.mark == mark for one in blocks)}
