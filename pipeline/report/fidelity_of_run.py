"""The fidelity that a run's report shows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from secateur.pipeline.analysis.fidelity import Fidelity, fidelity
from secateur.pipeline.data.loader import Loader
from secateur.pipeline.runs.inputs import Inputs
from secateur.pipeline.tasks.task import answering


def fidelity_of_run(inputs: Inputs, say: Callable[[str], None]) -> Fidelity | None:
    """The agreement of the maps of a run's dense and final model on held-out images; None where none are asked for.

    The images lie evenly over the held-out split, and the examples evenly over them.
    """
    spec, images = inputs.recipe.report, inputs.held_out_images
    count = min(spec.images, len(images))
    if not count:
        return None
    say(f"maps of {count} images")
    chosen = np.linspace(0, len(images) - 1, count).round().astype(np.int64)
    loader = Loader(images, inputs.transform, inputs.recipe.score.batch_size, chosen)
    examples = np.linspace(0, count - 1, min(spec.examples, count)).round().astype(int).tolist()
    small, dense, task = inputs.model("model"), inputs.dense, inputs.model_task
    if task.classifies:
        return fidelity(small, dense, loader, spec.rules, examples=examples)
    with answering(task, small, dense):
        return fidelity(small, dense, loader, spec.rules, "predicted", examples=examples)
