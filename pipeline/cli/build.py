"""`secateur build RUN_DIR`."""

from secateur.pipeline.cli.common import stage_command

command = stage_command("build", "Builds the engines that the recipe names.")
