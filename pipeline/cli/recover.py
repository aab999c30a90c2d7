"""`secateur recover RUN_DIR`, by one process or by all that `accelerate launch -m secateur recover RUN_DIR` starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from secateur.pipeline.cli.common import stage_command

command = stage_command("recover", "Repairs the pruned model in closed form, then distils it if the recipe says so.")
_alone = command.callback


def _together(**words: Any) -> None:
    """The stage in the first process; the others take part in the distillation only."""
    from secateur.pipeline.runs.distill_stage import DONE, announce, is_first, take_part
    from secateur.pipeline.runs.runner import open_run

    if is_first():
        assert _alone is not None  # for the type checker: the command was made with a callback
        click.get_current_context().invoke(_alone, **words)
        announce(DONE)
    else:
        take_part(open_run(Path(words["run_dir"])))


command.callback = _together
