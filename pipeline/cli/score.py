"""`secateur score RUN_DIR`."""

from secateur.pipeline.cli.common import stage_command

command = stage_command("score", "Scores every unit of a run's model by the recipe's method.")
