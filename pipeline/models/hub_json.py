"""JSON beside weights of the Hugging Face hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from secateur.core.errors import ModelError


def read_hub_json(path: Path) -> Any:
    """What a file holds; raises `ModelError` for one that cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"cannot read {path}: {error}; copy or download it again") from error
