"""DeiT-Tiny for ten of its 1,000 classes, at 40 and 60 % of the MACs pruned: through the stages of a run, to its bench.

`python -m secateur_studies.class_specialised --data ../shared/data` takes a run through each budget, as `secateur
run` does with `classes` in a recipe (`secateur prune --classes` writes them there), and keeps what its `bench.json`
says: accuracy on the held-out images of these classes, MACs, and paired latency in ONNX Runtime. Then it distils what
was only compensated before. Finished rows are kept, and the run goes on where it was stopped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from secateur_studies.xpruner_tasks import DEIT

from secateur.core.files import read_json, write_json
from secateur.pipeline.data.dataset import open_data
from secateur.pipeline.runs.recipe import make_recipe
from secateur.pipeline.runs.runner import open_run, run_stages

SCHEMA = "class_specialised"
COMMAND = "python -m secateur_studies.class_specialised --data DATA"
TARGET = "onnxruntime:cpu"
ROWS = ((0.6, 0), (0.4, 0), (0.4, 1), (0.6, 1))
"""The shares of the MACs that stay, and the epochs of distillation."""
RECIPE: dict[str, Any] = {
    "score": {
        "method": "xmask",
        "samples_per_class": 10,
        "options": {"precision": "bf16", "kinds": ["mlp_hidden", "qk_dim", "v_dim"]},
    },
    "plan": {"allocate": "xpruner", "xpruner": {"steps": 40, "batch_size": 10, "images": 100}},
    "report": {"images": 16},
    "bench": {"targets": [TARGET], "seconds": 20.0, "threads": 1},
}
LESSON: dict[str, Any] = {"batch_size": 50, "lr": 1e-4, "labels": 0.5, "mix": 0.0, "precision": "bf16"}


def recipe_of(data: Path, macs: float, epochs: int) -> dict[str, Any]:
    """The recipe of a run: Imagenette's images, of whose ten classes the model keeps the logits."""
    weights, images = str(data / f"weights/{DEIT}.safetensors"), data / "imagenette"
    return {
        **RECIPE,
        "model": {"name": DEIT, "weights": weights},
        "data": {"path": str(images)},
        "budget": {"macs": macs},
        "recover": {"samples_per_class": 20, "distill": {**LESSON, "epochs": epochs}},
        "classes": list(open_data(str(images)).classes),
    }


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True, help="Weights and images.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("benchmarks/results/class_specialised.json"))
@click.option("--work", type=click.Path(path_type=Path), default=Path("runs/class_specialised"), show_default=True)
def main(data: Path, out: Path, work: Path) -> None:
    """Brings the run of each budget up to date, and writes what their benches say."""
    rows: list[dict[str, Any]] = read_json(out, SCHEMA)["rows"] if out.exists() else []
    for macs, epochs in ROWS:
        key = {"macs_kept": macs, "epochs": epochs}
        if any(key.items() <= row.items() for row in rows):
            continue
        recipe = recipe_of(data, macs, epochs)
        run = open_run(work, make_recipe(recipe, "this benchmark"), update=True)
        run_stages(run, report=lambda stage, message: click.echo(f"{stage}: {message}", err=True))
        bench = read_json(run.folder / "bench.json", "bench") | {"command": COMMAND}  # not the paths of a machine
        rows.append({**key, "bench": bench})
        settings = {"recipe": RECIPE, "distillation": LESSON, "classes": recipe["classes"]}
        write_json(out, SCHEMA, {"command": COMMAND, **settings, "rows": rows})


if __name__ == "__main__":
    main()
