"""What a system cannot do that secateur does elsewhere, found by asking for each thing itself."""

from __future__ import annotations

import importlib.util
import os
import signal
from pathlib import Path

CGROUPS = Path("/proc/self/cgroup")


def platform_limits(cgroups: Path = CGROUPS) -> tuple[str, ...]:
    """A sentence for each thing that is missing here; none on Linux."""
    missing = {
        "there is no fcntl: this machine uses devices over ssh, but cannot be one": not _has_module("fcntl"),
        "there is no posix_fallocate: room for repair's temporary files is taken by writing them once, which takes "
        "longer": not hasattr(os, "posix_fallocate"),
        "folders cannot be synchronised with the disk: after a power cut the newest file of a run may be missing, and "
        "its stage is then done again": not hasattr(os, "O_DIRECTORY"),
        "there is no SIGHUP: a terminal that is closed ends secateur at once, and temporary files stay until the next "
        "command in that run": not hasattr(signal, "SIGHUP"),
        "there are no numbers of users: each command opens a connection of its own to a device": not hasattr(
            os, "getuid"
        ),
        "there are no control groups: the memory limit of a container is not known": not cgroups.exists(),
    }
    return tuple(sentence for sentence, absent in missing.items() if absent)


def _has_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ImportError:
        return False
