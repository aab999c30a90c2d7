"""A throwaway PostgreSQL server, for what only a real one can show."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


def _binary(name: str) -> Path | None:
    """A program of PostgreSQL's server; Debian keeps them out of PATH."""
    found = (
        [Path(found)] if (found := shutil.which(name)) else sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    )
    return found[-1] if found else None


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The URL of an empty database on a server of its own, which listens on a socket in a temporary folder only."""
    initdb, control = _binary("initdb"), _binary("pg_ctl")
    if initdb is None or control is None:
        pytest.skip("PostgreSQL's server (initdb and pg_ctl; Debian: postgresql) is not on this machine")
    user = None
    if os.getuid() == 0:  # the server refuses to run as root
        names = [entry.pw_name for entry in pwd.getpwall()]
        user = "postgres" if "postgres" in names else "nobody"
    folder = Path(tempfile.mkdtemp(prefix="secateur-postgresql-"))
    if user:
        shutil.chown(folder, user)

    def call(*words: str | Path) -> None:
        done = subprocess.run(words, user=user, cwd=folder, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr

    call(initdb, "-D", folder / "data", "-U", "judge", "--auth=trust", "--no-sync")
    options = f"-c listen_addresses='' -c fsync=off -k {folder}"
    # the log goes to a file: a pipe would stay open for as long as the server runs
    call(control, "-D", folder / "data", "-w", "-l", folder / "log", "-o", options, "start")
    try:
        yield f"postgresql://judge@/postgres?host={folder}"
    finally:
        call(control, "-D", folder / "data", "-m", "immediate", "stop")
        shutil.rmtree(folder)
