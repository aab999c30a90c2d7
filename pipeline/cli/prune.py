"""`secateur prune RUN_DIR`."""

from secateur.pipeline.cli.common import stage_command

command = stage_command("prune", "Cuts the planned units out of the model and proves removed equal to masked.")
