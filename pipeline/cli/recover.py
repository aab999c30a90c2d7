"""`secateur recover RUN_DIR`."""

from secateur.pipeline.cli.common import stage_command

command = stage_command("recover", "Repairs the pruned model in closed form.")
