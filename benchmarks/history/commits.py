"""Which commit is measured, and when it was made."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from secateur.core.errors import BenchError
from secateur.export.runner.machine import printed


def commit_here(folder: Path) -> str:
    """The commit that is checked out in a folder; raises `BenchError` for none, and for changes that are in none."""
    found = printed("git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    if not found:
        raise BenchError(f"{folder} is in no checkout of git: name the commit that was measured with --commit")
    if found.endswith("-dirty"):
        raise BenchError(
            f"the checkout in {folder} has changes that are in no commit: commit them, or name the commit that was "
            "measured with --commit"
        )
    return found


def time_of(commit: str, folder: Path) -> str:
    """When a commit was made, in UTC by ISO 8601; where git does not know it in a folder, the present time."""
    made = printed("git", "-C", str(folder), "show", "--no-patch", "--format=%cI", f"{commit}^{{commit}}")
    time = datetime.fromisoformat(made) if made else datetime.now(UTC)
    return time.astimezone(UTC).isoformat(timespec="seconds")
