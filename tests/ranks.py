"""Two processes of one computation that find each other by the environment, as Accelerate's launcher sets it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

SECONDS = 200
ROOT = Path(__file__).parents[1]
CODE = """
import importlib, pathlib, sys
sys.path.append(sys.argv[1])
importlib.import_module(sys.argv[2]).work(pathlib.Path(sys.argv[3]))
"""


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def two_ranks_work(module: str, folder: Path) -> None:
    """Runs `work(folder)` of a module as ranks 0 and 1 of two, on CPUs; both must succeed."""
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    common |= {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    children = [
        subprocess.Popen(
            [sys.executable, "-P", "-c", CODE, str(ROOT), module, str(folder)],
            env={**os.environ, **common, "RANK": rank, "LOCAL_RANK": rank},
        )
        for rank in ("0", "1")
    ]
    assert [child.wait(SECONDS) for child in children] == [0, 0]
