"""What a bundle's model says of one picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .bundle import Bundle
from .engines import chosen
from .golden import run_in_batches
from .labels import parse_labels
from .machine import this_machine
from .manifest import LABELS, PREPROCESSING
from .preprocess import parse_preprocessing
from .runtimes import open_model

SCHEMA = "secateur.infer/1"


def infer(bundle: Bundle, image: Path, target: str = "", top: int = 5, threads: int | None = None) -> dict[str, Any]:
    """What a picture or an .npy input gives, as JSON: the most probable classes, numbers, or the kind of the outputs.

    `target` names an engine (`onnxruntime:cpu@fp16`); without it the first one that runs here is taken. Raises
    `RunnerError` where none does and for a picture that cannot be read.
    """
    engine = chosen(bundle.manifest.engines, target, this_machine())
    array = parse_preprocessing(bundle.read(PREPROCESSING)).input_of(image)
    with open_model(bundle.path(engine.path), engine.target, threads, engine.lean) as model:
        outputs = run_in_batches(model, {model.inputs[0].name: array}, engine)
    found: dict[str, Any] = {"schema": SCHEMA, "image": image.name, "target": engine.name}
    found["outputs"] = {
        name: {"dtype": str(one.dtype), "shape": list(one.shape), "finite": bool(np.isfinite(one).all())}
        for name, one in outputs.items()
    }
    labels = parse_labels(bundle.read(LABELS), bundle.manifest.classes)
    rows = labels.rows(next(iter(outputs.values())), top)
    if rows is not None:
        found["values" if labels.activation == "identity" else "top"] = rows
    return found
