"""Pictures on disk, written atomically."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from secateur.core.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def save_figure(figure: Figure, path: Path) -> None:
    """Writes a figure as PNG, atomically, without the date that would change its hash."""
    with atomic_path(path) as part:
        figure.savefig(part, format="png", dpi=130, metadata={"Software": None})
