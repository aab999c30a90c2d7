"""How to come to the same run again: commands, and what they need."""

from __future__ import annotations

import shlex

from secateur.pipeline.report.findings import Findings


def commands_of(found: Findings) -> list[tuple[str, str]]:
    """Commands as one would type them, each with what it does."""
    folder, bench = str(found.folder), found.bench
    again = shlex.join(["secateur", "run", f"{folder}/recipe.yaml", "--out", f"{folder}-again"])
    commands = [("The same run in another folder; its plan and its weights are the same:", again)]
    if bench.command:
        commands.append(("The command that measured:", bench.command))
    if commit := bench.environment.git_commit:
        commands.append(("The commit of secateur that measured:", f"git checkout {commit.removesuffix('-dirty')}"))
    return commands
