"""Two processes of one computation that find each other by the environment, as Accelerate's launcher sets it."""

from __future__ import annotations

import socket
from pathlib import Path

from tests.forked import finished, started

WORK = """
import importlib, pathlib
importlib.import_module(module).work(pathlib.Path(folder))
"""


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def two_ranks_run(code: str, **names: object) -> None:
    """Runs `code` with these names as ranks 0 and 1 of two, on CPUs; both must succeed."""
    common = {
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "ACCELERATE_USE_CPU": "true",
    }
    ranks = [started(code, {**common, "RANK": rank, "LOCAL_RANK": rank}, **names) for rank in ("0", "1")]
    assert finished(*ranks) == [0, 0]


def two_ranks_work(module: str, folder: Path) -> None:
    """Runs `work(folder)` of a module as ranks 0 and 1 of two, on CPUs; both must succeed."""
    two_ranks_run(WORK, module=module, folder=str(folder))
