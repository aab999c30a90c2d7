"""Checkpoints of long work: the state after a step, and what must be the same for going on from it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import nn

from secateur.core.files import atomic_path


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
        """Puts the parts into the state in the file; returns the steps done, 0 without a file that fits."""
        if not self.path.exists():
            return 0
        content = torch.load(self.path, map_location="cpu", weights_only=True)
        if content.get("identity") != self.identity:
            return 0
        for name, part in parts.items():
            part.load_state_dict(content[name])
        return int(content["steps"])


def weights_hash(model: nn.Module) -> str:
    """The SHA-256 of all weights of a model."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        data = value.detach().cpu().contiguous().flatten().view(torch.uint8)  # NumPy knows no bfloat16
        digest.update(name.encode() + data.numpy().tobytes())
    return digest.hexdigest()
