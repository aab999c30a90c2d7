"""JSON beside weights of the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from secateur.core.errors import ModelError
from secateur.core.json_text import read_json_text


def read_hub_json(path: Path) -> Any:
    """What a file holds; raises `ModelError` for one that cannot be read."""
    try:
        return read_json_text(path)
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read {path}: {error}; copy or download it again") from error
