"""Whose work is in a bundle."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

from secateur.core.errors import ExportError

MODEL = """The model in this bundle was made from `{model}` by pruning, which keeps the licence of its weights.

{said}

The golden images are some of the images that the model was pruned with; they are under the terms of their source.
"""


def licences(model: str, licence: str) -> dict[str, str]:
    """The texts by the name of their file: secateur's own for the runner, and what is known of the model's.

    `licence` is what timm says of the model's pretrained weights, empty where it says nothing.
    """
    said = (
        f"timm states the licence {licence} for its own weights of this model; weights from elsewhere have their own."
        if licence
        else "No licence is known to secateur for its weights: ask whoever trained them."
    )
    return {"model.txt": MODEL.format(model=model, said=said), "secateur.txt": _own()}


def _own() -> str:
    """The text of secateur's licence, from its installed metadata or the checkout that it runs from."""
    found = [path for path in metadata.files("secateur") or [] if path.name == "LICENSE"]
    places = [Path(str(path.locate())) for path in found] + [Path(__file__).resolve().parents[2] / "LICENSE"]
    for place in places:
        if place.is_file():
            return place.read_text(encoding="utf-8")
    raise ExportError("secateur's own LICENSE is not installed beside it: install secateur again with pip")
