"""A recipe taken through its stages, to the report or to an earlier one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from secateur.core.errors import RunError, near_matches
from secateur.pipeline.report.stage import ALL_STAGES
from secateur.pipeline.runs.context import Run
from secateur.pipeline.runs.recipe import RecipeLike, changed
from secateur.pipeline.runs.runner import open_run, run_stages, trust_runs
from secateur.pipeline.runs.trust import recipe_to_run


def run(
    recipe: RecipeLike | None,
    folder: str | Path,
    settings: Sequence[str] = (),
    *,
    until: str = "report",
    update: bool = False,
    force: bool = False,
    trust: bool = False,
    report: Callable[[str, str], None] = lambda stage, message: None,
) -> Run:
    """The run in `folder`, with the stages of a recipe done through `until`; finished stages are not repeated.

    A recipe is a file, its content, or one that `read_recipe` has read; without one it is that of the run. `settings`
    such as `budget.macs=0.4` change it. With `force` the last stage is done again all the same. `report` is told of
    each stage. Raises `RunError` for a folder that holds the run of another recipe, unless `update` lets it follow
    this one, for an unknown stage, and for the recipe of a run that names code to import which this user never ran
    here, unless `trust` says that it may.

    >>> import numpy as np
    >>> pixels = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3), dtype=np.uint8)
    >>> np.savez("images.npz", images=pixels, labels=np.arange(20) % 5)
    >>> recipe = {
    ...     "model": {"name": "vit_tiny_patch16_224", "kwargs": sizes},
    ...     "data": {"path": "images.npz"},
    ...     "budget": {"macs": 0.5},
    ...     "export": {"targets": []},
    ...     "bench": {"targets": ["torch:cpu"], "seconds": 0.1},
    ... }
    >>> half = sc.run(recipe, "runs/half")
    >>> half.small(example).shape, (half.folder / "report.html").is_file()
    (torch.Size([1, 5]), True)
    >>> sc.run(None, "runs/half", ["budget.macs=0.6"], until="plan").plan.facts.limit > half.bench.pruned.macs
    True
    """
    names = [stage.name for stage in ALL_STAGES]
    if until not in names:
        raise RunError(f"there is no stage {until!r}, but {', '.join(names)}{near_matches(until, names)}")
    if recipe is None:
        if trust:
            trust_runs(folder)
        there = open_run(Path(folder))
        opened = open_run(Path(folder), changed(there.recipe, settings), update=True)
    else:
        opened = open_run(Path(folder), recipe_to_run(recipe, settings, trust), update)
    run_stages(opened, until, report, ALL_STAGES, force)
    return opened
