"""What a bundle's model says of one picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .bundle import Bundle
from .engines import chosen
from .labels import largest, parse_labels
from .machine import this_machine
from .manifest import LABELS, PREPROCESSING
from .preprocess import parse_preprocessing
from .runtimes import open_model

SCHEMA = "secateur.infer/1"


def infer(bundle: Bundle, image: Path, target: str = "", top: int = 5, threads: int | None = None) -> dict[str, Any]:
    """The outputs for a picture or an .npy input as JSON: the most probable classes, or the shapes of other outputs.

    `target` names an engine (`onnxruntime:cpu@fp16`); without it the first one that runs here is taken. Raises
    `RunnerError` where none does and for a picture that cannot be read.
    """
    engine = chosen(bundle.manifest.engines, target, this_machine())
    array = parse_preprocessing(bundle.read(PREPROCESSING)).input_of(image)
    with open_model(bundle.path(engine.path), engine.target, threads, engine.lean) as model:
        outputs = model.run({model.inputs[0].name: array})
    found: dict[str, Any] = {"schema": SCHEMA, "image": image.name, "target": engine.key}
    found["outputs"] = {
        name: {"dtype": str(one.dtype), "shape": list(one.shape), "finite": bool(np.isfinite(one).all())}
        for name, one in outputs.items()
    }
    first = next(iter(outputs.values()))
    names = parse_labels(bundle.read(LABELS), bundle.manifest.classes)
    if first.ndim == 2 and first.shape[1] == len(names) and np.isfinite(first).all():
        found["top"] = [
            [{"class": name, "probability": round(share, 6)} for name, share in largest(row, names, top)]
            for row in first
        ]
    return found
