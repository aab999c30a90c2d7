"""Checkpoints of long work: the state after a step, and what must be the same for going on from it."""

from __future__ import annotations

import copy
import hashlib
import logging
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from secateur.core.files import atomic_path

DAMAGE = (
    *(pickle.UnpicklingError, RuntimeError, OSError, EOFError, UnicodeError),
    *(ValueError, KeyError, IndexError, AttributeError, TypeError),
    *(AssertionError, OverflowError, MemoryError, struct.error, zipfile.BadZipFile),
)
"""What torch raises of a file that is cut off, overwritten or of another program."""
_log = logging.getLogger(__name__)


class Checkpoint:
    """A file with the state of long work after a step; of another recipe, it is not used."""

    def __init__(self, path: Path, identity: str) -> None:
        self.path = path
        self.identity = identity

    def save(self, parts: dict[str, Any], steps: int) -> None:
        """Writes the state of all parts, atomically."""
        states = {name: part.state_dict() for name, part in parts.items()}
        with atomic_path(self.path) as path:
            torch.save({"identity": self.identity, "steps": steps, **states}, path)

    def load(self, parts: dict[str, Any]) -> int:
        """Puts the parts into the state in the file; returns the steps done, 0 without a file that fits.

        A damaged file, which is said, is none: the parts are as they were.
        """
        if not self.path.exists():
            return 0
        before = {name: copy.deepcopy(part.state_dict()) for name, part in parts.items()}
        try:
            content = torch.load(self.path, map_location="cpu", weights_only=True)
            if content.get("identity") != self.identity:
                return 0
            for name, part in parts.items():
                part.load_state_dict(content[name])
            return int(content["steps"])
        except DAMAGE as error:
            said = " ".join(str(error).split())[:200] or type(error).__name__
            _log.warning("%s is damaged (%s): this work starts anew", self.path, said)
        for name, part in parts.items():
            part.load_state_dict(before[name])
        return 0


def weights_hash(model: nn.Module) -> str:
    """The SHA-256 of all weights of a model."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        data = value.detach().cpu().contiguous().flatten().view(torch.uint8)  # NumPy knows no bfloat16
        digest.update(name.encode() + data.numpy().tobytes())
    return digest.hexdigest()
