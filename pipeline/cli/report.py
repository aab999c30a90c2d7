"""`secateur report RUN_DIR`."""

from secateur.pipeline.cli.common import stage_command

command = stage_command("report", "Writes the run's report, as one HTML page and as Markdown.")
