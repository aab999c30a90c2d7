"""`secateur recover RUN_DIR`, by one process or by all that `accelerate launch -m secateur recover RUN_DIR` starts."""

from secateur.pipeline.cli.common import by_all_processes, stage_command

command = by_all_processes(
    stage_command("recover", "Repairs the pruned model in closed form, then distils it if the recipe says so.")
)
