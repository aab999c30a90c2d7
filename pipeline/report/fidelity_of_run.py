"""The fidelity that a run's report shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from secateur.core.errors import ModelError
from secateur.core.say import Say
from secateur.pipeline.analysis.fidelity import GRADIENT, Fidelity, fidelity
from secateur.pipeline.data.loader import Loader
from secateur.pipeline.runs.inputs import Inputs
from secateur.pipeline.tasks.task import answering


@dataclass(frozen=True)
class Maps:
    """What both models rest their answers on by some `rules`; `instead` says why they are not those asked for."""

    found: Fidelity
    rules: str
    instead: str = ""

    @property
    def said(self) -> str:
        """What the maps show, and by which explanation."""
        if self.rules == GRADIENT:
            return "gradient times input, which is noisy"
        return f"relevance propagation by the rules {self.rules}"


def fidelity_of_run(inputs: Inputs, say: Say) -> Maps | None:
    """The agreement of the maps of a run's dense and final model on held-out images; None where none are asked for.

    The images lie evenly over the held-out split, and the examples evenly over them. Where a model computes something
    that the relevance rules cannot follow, the maps are gradients, and it is said why.
    """
    spec, images = inputs.recipe.report, inputs.held_out_images
    count = min(spec.images, len(images))
    if not count:
        return None
    say(f"maps of {count} images")
    chosen = np.linspace(0, len(images) - 1, count).round().astype(np.int64)
    loader = Loader(images, inputs.transform, inputs.recipe.score.batch_size, chosen)
    examples = np.linspace(0, count - 1, min(spec.examples, count)).round().astype(int).tolist()
    try:
        return Maps(_fidelity(inputs, loader, spec.rules, examples), spec.rules)
    except ModelError as error:
        if spec.rules == GRADIENT:
            raise
        say(f"maps by gradients instead of {spec.rules}: {error}")
        return Maps(_fidelity(inputs, loader, GRADIENT, examples), GRADIENT, str(error))


def _fidelity(inputs: Inputs, loader: Loader, rules: str, examples: Sequence[int]) -> Fidelity:
    small, dense, task = inputs.model("model"), inputs.dense, inputs.model_task
    if task.classifies:
        return fidelity(small, dense, loader, rules, examples=examples)
    with answering(task, small, dense):
        return fidelity(small, dense, loader, rules, "predicted", examples=examples)
