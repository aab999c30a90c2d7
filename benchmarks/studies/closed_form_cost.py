"""What second-order scores and closed-form repair cost, beside passes over the same images.

`python -m secateur_studies.closed_form_cost` measures the processor's seconds and the most memory of a forward pass, of
one with its backward pass (to the inputs, as the scores need it), of `obs` and of the repair front to back with half of
the MLPs' and of the heads' units gone, each in a process of its own, in the order A B B A. Weights and images are
random, on which none of it depends. It all grows linearly with the images, so that few of them say what 1,000 cost.
Finished rows are kept: it goes on where it was stopped.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from secateur_studies.structure_speed import begin_peak, peak_bytes

from secateur.core.files import read_json, write_json

SCHEMA = "closed_form_cost"
COUNTS = {"deit_tiny_patch16_224": (32, 96), "vit_base_patch16_224": (8, 24)}
"""For each model, the numbers of images."""
WORKS = ("forward", "forward and backward", "scoring", "repair")
KINDS = ("mlp_hidden", "qk_dim", "v_dim")
IMAGES, BATCH = 1000, 32
GOALS = {"scoring": ("forward and backward", 1.5), "repair": ("forward", 3.0)}
"""What the two are compared with, and how many times as much they may take."""


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("benchmarks/results/closed_form_cost.json"))
@click.option("--threads", default=1, show_default=True, help="Threads that wait for each other count as well.")
@click.option("--one", nargs=3, hidden=True, help="Measure one work of one model on so many images in this process.")
def main(out: Path, threads: int, one: tuple[str, str, str] | None) -> None:
    """Measures what is not in the file yet, and writes it row by row."""
    if one:
        print(json.dumps(measured(one[0], one[1], int(one[2]), threads)))
        return
    from secateur.benchmarks.environment import environment

    rows = read_json(out, SCHEMA)["rows"] if out.exists() else []
    for name, work, images, turn in turns():
        if any((name, work, images, turn) == _key(row) for row in rows):
            continue
        command = [sys.executable, "-P", "-m", "secateur_studies.closed_form_cost", "--threads", str(threads)]
        done = subprocess.run([*command, "--one", name, work, str(images)], capture_output=True, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        rows.append({"model": name, "work": work, "images": images, "turn": turn, **found})
        content = {
            "command": f"python -m secateur_studies.closed_form_cost --threads {threads}",
            "environment": asdict(environment()),
            "threads": threads,
            "batch": BATCH,
            "models": {model: summary([row for row in rows if row["model"] == model]) for model in COUNTS},
            "rows": rows,
        }
        write_json(out, SCHEMA, content)
        click.echo(json.dumps(rows[-1]), err=True)


def turns() -> Iterator[tuple[str, str, int, int]]:
    """All rows: the model, the work, the number of images, and which of its turns it is."""
    for name, counts in COUNTS.items():
        for images in counts:
            for turn, works in enumerate((WORKS, WORKS[::-1])):
                yield from ((name, work, images, turn) for work in works)


def _key(row: dict[str, Any]) -> tuple[str, str, int, int]:
    return row["model"], row["work"], row["images"], row["turn"]


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Seconds and peak memory with 1,000 images, by the work, and what `GOALS` compares; of works measured twice."""
    seconds, peaks = ({work: at(rows, work, key, IMAGES) for work in WORKS} for key in ("cpu_seconds", "peak_bytes"))
    ratios = {
        f"{work} / {base}": {"ratio": above / below, "goal": goal}
        for work, (base, goal) in GOALS.items()
        if (above := seconds[work]) and (below := seconds[base])
    }
    return {"images": IMAGES, "cpu_seconds": seconds, "peak_bytes": peaks, "ratios": ratios}


def at(rows: Sequence[dict[str, Any]], work: str, key: str, images: int) -> float | None:
    """What a work takes with so many images by the line through its rows; None before two counts were measured."""
    found = np.array([(row["images"], row[key]) for row in rows if row["work"] == work])
    if len({count for count, *_ in found.tolist()}) < 2:
        return None
    slope, start = np.polyfit(found[:, 0], found[:, 1], deg=1)
    return float(slope * images + start)


def measured(name: str, work: str, images: int, threads: int) -> dict[str, float]:
    """The processor's seconds and the most bytes of this process while it does one work."""
    import torch

    torch.set_num_threads(threads)
    task = prepared(name, work, images)
    begin_peak()
    started = time.process_time()
    task()
    return {"cpu_seconds": time.process_time() - started, "peak_bytes": float(peak_bytes())}


def prepared(name: str, work: str, images: int, **kwargs: Any) -> Callable[[], object]:
    """A work on a timm model (with its keywords `kwargs`) and random images, ready to be done."""
    import timm
    import torch

    from secateur.core.modules import frozen
    from secateur.pipeline.recover.compensate import repair
    from secateur.pipeline.scores.score import score
    from secateur.pipeline.structure.find import find_groups
    from secateur.pipeline.structure.plan import plan_from_kept
    from secateur.pipeline.structure.surgery import cut

    torch.manual_seed(0)
    model = timm.create_model(name, **kwargs).eval()
    size = kwargs.get("img_size", 224)
    sizes = [BATCH] * (images // BATCH) + ([images % BATCH] if images % BATCH else [])
    loader = [(torch.randn(count, 3, size, size), torch.zeros(count, dtype=torch.long)) for count in sizes]

    def passes(backward: bool) -> None:
        with frozen(model), torch.set_grad_enabled(backward):
            for pixels, _ in loader:
                asking = pixels.clone().requires_grad_(backward)
                outputs = model(asking)
                if backward:
                    torch.autograd.grad(outputs.logsumexp(1).sum(), asking)

    if work in ("forward", "forward and backward"):
        return lambda: passes(work != "forward")
    groups = find_groups(model, loader[0][0][:1], verify=False)
    if work == "scoring":
        asked = replace(groups, groups=tuple(group for group in groups if group.kind in KINDS))
        return lambda: score(model, asked, loader, "obs")
    plan = plan_from_kept(groups, {group.name: range(0, group.units, 2) for group in groups if group.kind in KINDS})
    small = cut(model, groups, plan)
    return lambda: repair(small, model, plan, loader, groups=groups)


if __name__ == "__main__":
    main()
