"""`secateur plan RUN_DIR`."""

from secateur.pipeline.cli.common import stage_command

command = stage_command("plan", "Decides which units stay, under the recipe's budget.")
