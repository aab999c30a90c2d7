"""`secateur plan RUN_DIR` and its like: the commands that bring a run directory up to date through one stage."""

from __future__ import annotations

from secateur.pipeline.cli.common import by_all_processes, stage_command

plan = stage_command("plan", "Decides which units stay, under the recipe's budget.")
recover = by_all_processes(  # by one process, or by all that `accelerate launch -m secateur recover RUN_DIR` starts
    stage_command("recover", "Repairs the pruned model in closed form, then distils it if the recipe says so.")
)
export = stage_command("export", "Writes the dense and the small model as ONNX and checks both against PyTorch.")
build = stage_command("build", "Builds the engines that the recipe names.")
report = stage_command("report", "Writes the run's report, as one HTML page and as Markdown.")
