"""The score stage: methods that train are trained by all processes that a launcher started."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

from secateur.core.say import Say
from secateur.pipeline.plan.allocation import DEFAULT_KINDS, Constraints
from secateur.pipeline.plan.make import prunable
from secateur.pipeline.runs.distributed import together
from secateur.pipeline.runs.inputs import Inputs
from secateur.pipeline.scores.registry import TrainedMethod
from secateur.pipeline.scores.score import Scores, score
from secateur.pipeline.structure.groups import KINDS, Groups
from secateur.pipeline.structure.layers import groups_for

FILE = "scores.safetensors"
KEPT = ("xmask.pt",)
"""What a training that is stopped leaves behind."""


def score_run(inputs: Inputs, say: Say = lambda message: None) -> Scores:
    """The scores of a run's model by its recipe's method; a training that was stopped goes on.

    Of the groups that the plan skips there are none, and none of the kinds that it leaves out where it names kinds.
    """
    spec = inputs.recipe.score
    loader = inputs.calibration(spec.samples_per_class, spec.batch_size)
    say(f"{spec.told} on {loader.samples} images")
    folder, task = inputs.working_folder, spec.explained(inputs.model_task)
    return score(inputs.dense, scored(inputs), loader, spec.made(), inputs.recipe.seed, say, folder, task)


def scored(inputs: Inputs) -> Groups:
    """The groups whose scores a plan may need; of all kinds, for the report to show, unless the recipe names some."""
    asked = inputs.recipe.plan
    kinds = KINDS if asked.kinds == DEFAULT_KINDS else asked.kinds
    groups = groups_for(kinds, inputs.groups)
    return replace(groups, groups=tuple(prunable(groups, Constraints(kinds=kinds, skip=asked.skip))))


def score_together(inputs: Inputs, say: Say) -> list[str]:
    """What the first process does: it scores, and the others help where the method trains."""
    trains = isinstance(inputs.recipe.score.made(), TrainedMethod)
    with together(inputs.task()) if trains else nullcontext():
        scores = score_run(inputs, say)
    scores.save(inputs.output(FILE))
    return [FILE]
