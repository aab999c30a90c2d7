"""DeiT-Tiny for ten of its 1,000 classes, at 40 and 60 % of the MACs pruned: through the stages of a run, to its bench.

`python -m secateur.benchmarks.class_specialised --data ../shared/data` makes a run for each budget, as `secateur run`
does with `classes` in a recipe (`secateur prune --classes` writes them there), and keeps what its `bench.json` says:
accuracy on the held-out images of these classes, MACs, and paired latency in ONNX Runtime. Runs go on where they were
stopped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from secateur.benchmarks.xpruner_tasks import DEIT
from secateur.pipeline.data.dataset import open_data
from secateur.pipeline.files import read_json, write_json
from secateur.pipeline.runs.recipe import make_recipe
from secateur.pipeline.runs.runner import open_run, run_stages

SCHEMA = "class_specialised"
COMMAND = "python -m secateur.benchmarks.class_specialised --data DATA"
TARGET = "onnxruntime:cpu"
BUDGETS = (0.6, 0.4)
RECIPE: dict[str, Any] = {
    "score": {"method": "xmask", "samples_per_class": 10, "options": {"precision": "bf16"}},
    "plan": {"allocate": "xpruner", "xpruner": {"steps": 40, "batch_size": 10, "images": 100}},
    "recover": {
        "samples_per_class": 20,
        "distill": {"epochs": 1, "batch_size": 50, "lr": 1e-4, "labels": 0.5, "mix": 0.0, "precision": "bf16"},
    },
    "report": {"images": 16},
    "bench": {"targets": [TARGET], "seconds": 20.0, "threads": 1},
}


def recipe_of(data: Path, macs: float) -> dict[str, Any]:
    """The recipe of a run: Imagenette's images, of whose ten classes the model keeps the logits."""
    weights, images = str(data / f"weights/{DEIT}.safetensors"), data / "imagenette"
    return {
        **RECIPE,
        "model": {"name": DEIT, "weights": weights},
        "data": {"path": str(images)},
        "budget": {"macs": macs},
        "classes": list(open_data(str(images)).classes),
    }


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True, help="Weights and images.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("benchmarks/results/class_specialised.json"))
@click.option("--work", type=click.Path(path_type=Path), default=Path("runs/class_specialised"), show_default=True)
def main(data: Path, out: Path, work: Path) -> None:
    """Brings the run of each budget up to date, and writes what their benches say."""
    rows = {}
    for macs in BUDGETS:
        recipe = recipe_of(data, macs)
        run = open_run(work / f"{macs:.0%}".rstrip("%"), make_recipe(recipe, "this benchmark"), update=True)
        run_stages(run, report=lambda stage, message: click.echo(f"{stage}: {message}", err=True))
        rows[f"{macs:g}"] = read_json(run.folder / "bench.json", "bench")
        settings = {"recipe": RECIPE, "classes": recipe["classes"], "images": run.evaluation().samples}
        write_json(out, SCHEMA, {"command": COMMAND, **settings, "rows": rows})


if __name__ == "__main__":
    main()
