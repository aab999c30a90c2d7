"""Where programs of this user leave what they note down (XDG Base Directory Specification)."""

from __future__ import annotations

import os
from pathlib import Path

from secateur.core.errors import RunError


def state_folder() -> Path:
    """`secateur` in XDG_STATE_HOME, or in ~/.local/state; it need not exist.

    Raises `RunError` for a user without a home folder.
    """
    base = os.environ.get("XDG_STATE_HOME", "")
    if base and Path(base).is_absolute():
        return Path(base) / "secateur"
    try:
        return Path.home() / ".local" / "state" / "secateur"
    except RuntimeError as error:
        raise RunError("this user has no home folder: let XDG_STATE_HOME name a folder to write to") from error
