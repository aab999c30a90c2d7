"""`secateur export RUN_DIR`."""

from secateur.pipeline.cli.common import stage_command

command = stage_command("export", "Writes the dense and the small model as ONNX and checks both against PyTorch.")
