"""The most memory that scoring and repair take, by the number of images.

`python -m secateur_studies.memory_of_images --data DIR` scores DeiT-Tiny by `obs`, and repairs it front to back with
half of the MLPs' and of the heads' units gone, on 64, 256 and 1,024 images, each in a process of its own. DIR holds
`weights/deit_tiny_patch16_224.safetensors` and `imagenet-train1000/`; of its 1,000 images the first ones come again.
What is counted is the resident peak of the whole process (`ru_maxrss`), and beside it how much of that was there when
model and libraries were loaded. Finished rows are kept: it goes on where it was stopped.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from secateur.core.files import read_json, write_json

SCHEMA = "memory_of_images"
MODEL = "deit_tiny_patch16_224"
COUNTS = (64, 256, 1024)
WORKS = ("scoring", "repair")
KINDS = ("mlp_hidden", "qk_dim", "v_dim")
BATCH = 32


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True, help="Weights and images.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("benchmarks/results/memory_of_images.json"))
@click.option("--one", nargs=2, hidden=True, help="Measure one work on so many images in this process.")
def main(data: Path, out: Path, one: tuple[str, str] | None) -> None:
    """Measures what is not in the file yet, and writes it row by row."""
    if one:
        print(json.dumps(measured(data, one[0], int(one[1]))))
        return
    from secateur.benchmarks.environment import environment

    rows = read_json(out, SCHEMA)["rows"] if out.exists() else []
    for work, images in ((work, images) for work in WORKS for images in COUNTS):
        if any((row["work"], row["images"]) == (work, images) for row in rows):
            continue
        command = [sys.executable, "-P", "-m", "secateur_studies.memory_of_images", "--data", str(data)]
        done = subprocess.run([*command, "--one", work, str(images)], stdout=subprocess.PIPE, text=True, check=True)
        rows.append({"work": work, "images": images, **json.loads(done.stdout.splitlines()[-1])})
        content = {
            "command": "python -m secateur_studies.memory_of_images --data DIR",
            "environment": asdict(environment()),
            "model": MODEL,
            "batch": BATCH,
            "threads": 1,
            "rows": rows,
        }
        write_json(out, SCHEMA, content)
        click.echo(json.dumps(rows[-1]), err=True)


def measured(data: Path, work: str, images: int) -> dict[str, float]:
    """The most bytes of this process before and during one work, and the processor's seconds of that."""
    import numpy as np
    import torch

    import secateur as sc
    from secateur.pipeline.data.loader import Loader
    from secateur.pipeline.data.spec import DataSpec
    from secateur.pipeline.models.inputs import transform_for
    from secateur.pipeline.models.spec import ModelSpec
    from secateur.pipeline.recover.compensate import repair
    from secateur.pipeline.scores.score import score
    from secateur.pipeline.structure.find import find_groups
    from secateur.pipeline.structure.plan import plan_from_kept
    from secateur.pipeline.structure.surgery import cut

    torch.set_num_threads(1)
    model = sc.create_model(ModelSpec(MODEL, weights=str(data / f"weights/{MODEL}.safetensors")))
    source = sc.open_data(
        DataSpec(calibration=str(data / "imagenet-train1000"), evaluation=str(data / "imagenet-val1000"))
    ).calibration
    loader = Loader(source, transform_for(model), BATCH, np.arange(images) % len(source))
    groups = find_groups(model, next(iter(loader))[0][:1], verify=False)
    asked = replace(groups, groups=tuple(group for group in groups if group.kind in KINDS))
    plan = plan_from_kept(groups, {group.name: range(0, group.units, 2) for group in asked})
    small = cut(model, groups, plan)
    before, started = peak_bytes(), time.process_time()
    if work == "scoring":
        score(model, asked, loader, "obs")
    else:
        repair(small, model, plan, loader, groups=groups)
    return {
        "peak_bytes": peak_bytes(),
        "peak_bytes_before": before,
        "cpu_seconds": round(time.process_time() - started, 1),
    }


def peak_bytes() -> int:
    """The resident peak of this process so far."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def growth(rows: Sequence[dict[str, Any]], work: str) -> float:
    """How many times as much a work takes with the most images as with the fewest."""
    peaks = {row["images"]: row["peak_bytes"] for row in rows if row["work"] == work}
    return float(peaks[max(peaks)] / peaks[min(peaks)])


def table_of(rows: Sequence[dict[str, Any]]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The heads and the rows of the table: the peak of each work in MB by the number of images."""
    counts = sorted({row["images"] for row in rows})
    peaks = {(row["work"], row["images"]): row["peak_bytes"] for row in rows}
    works = list(dict.fromkeys(row["work"] for row in rows))
    heads = ("peak memory, DeiT-Tiny", *(f"{count:,} images" for count in counts))
    return heads, [(work, *(f"{peaks[work, count] / 1e6:,.0f} MB" for count in counts)) for work in works]


if __name__ == "__main__":
    main()
