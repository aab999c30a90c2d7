"""The commit of a checkout and its time, with git itself."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from secateur.benchmarks.history.commits import commit_here, time_of
from secateur.core.errors import BenchError


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "somebody")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "somebody@example.org")
        monkeypatch.setenv(f"GIT_{who}_DATE", "2026-02-03T04:05:06+02:00")
    (tmp_path / "file").write_text("one")
    for words in (["init", "-q"], ["add", "file"], ["commit", "-qm", "One"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    return tmp_path


def test_a_commit_has_its_own_time(checkout: Path) -> None:
    commit = commit_here(checkout)
    assert len(commit) == 40 and time_of(commit, checkout) == "2026-02-03T02:05:06+00:00"
    (checkout / "other").write_text("no part of the commit")
    assert commit_here(checkout) == commit
    now = datetime.fromisoformat(time_of("f" * 40, checkout))
    assert abs((datetime.now(UTC) - now).total_seconds()) < 60


def test_changes_and_folders_without_git_have_no_commit(
    checkout: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (checkout / "file").write_text("two")
    with pytest.raises(BenchError, match="changes that are in no commit"):
        commit_here(checkout)
    with pytest.raises(BenchError, match="in no checkout of git: name the commit that was measured with --commit"):
        commit_here(tmp_path_factory.mktemp("bare"))
