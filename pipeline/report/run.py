"""A recipe taken through all stages, to the report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from secateur.pipeline.report.stage import ALL_STAGES
from secateur.pipeline.runs.context import Run
from secateur.pipeline.runs.recipe import RecipeLike, recipe_of
from secateur.pipeline.runs.runner import open_run, run_stages


def run(
    recipe: RecipeLike,
    folder: str | Path,
    settings: Sequence[str] = (),
    *,
    update: bool = False,
    report: Callable[[str, str], None] = lambda stage, message: None,
) -> Run:
    """The run in `folder`, with all stages of a recipe done; finished stages are not repeated.

    A recipe is a file, its content, or one that `read_recipe` has read; `settings` such as `budget.macs=0.4` change
    it. `report` is told of each stage. Raises `RunError` for a folder that holds the run of another recipe, unless
    `update` lets it follow this one.

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
    """
    opened = open_run(Path(folder), recipe_of(recipe, settings), update)
    run_stages(opened, report=report, stages=ALL_STAGES)
    return opened
