"""What ridge compensation of ViT-B/16 costs with 1,024 images, extrapolated from small measured parts.

`python -m secateur_studies.compensate_cost` times the repair of ViT-B blocks with random weights, half of whose MLP
hidden units are gone, at few images and few blocks. The time grows linearly with both (`PARTS`), and does not depend
on the values of weights and images. It is the processor's, on one thread: other work on the machine hardly changes it.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import numpy as np
import timm
import torch
from torch import Tensor, nn

from secateur.benchmarks.environment import environment
from secateur.core.files import write_json
from secateur.pipeline.recover.compensate import FOLDS, RIDGES, refit
from secateur.pipeline.recover.front_to_back import refit_branches
from secateur.pipeline.recover.narrowed import Narrowed, narrowed_by
from secateur.pipeline.statistics.moments import Moments, gather_moments
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Groups
from secateur.pipeline.structure.plan import Plan, plan_from_kept
from secateur.pipeline.structure.surgery import cut

MODEL, DEPTH, IMAGES = "vit_base_patch16_224", 12, 1024
DEPTHS, COUNTS = (1, 2), (8, 16)
Terms = Callable[[float, float], list[float]]
PARTS: dict[str, Terms] = {
    "statistics": lambda blocks, images: [images, images * blocks],
    "solves": lambda blocks, images: [1.0, blocks],
    "front to back": lambda blocks, images: [blocks, images, images * blocks],
}
"""What the time of each part is a sum of: the solves take no images, and nothing but they takes time without any."""


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("benchmarks/results/compensate_cost.json"))
@click.option("--repeats", default=2, show_default=True)
def main(out: Path, repeats: int) -> None:
    """Measures the parts and writes what they come to."""
    torch.set_num_threads(1)  # threads that wait for each other would count
    samples: dict[str, list[dict[str, float]]] = {part: [] for part in PARTS}
    statistics_bytes = 0.0
    for depth in DEPTHS:
        model = timm.create_model(MODEL, depth=depth).eval()
        groups = find_groups(model, torch.zeros(1, 3, 224, 224))
        plan = half_of(groups)
        small, less = cut(model, groups, plan), narrowed_by(model, groups, plan)
        for count in COUNTS:
            for _ in range(repeats):
                loader = [(torch.randn(8, 3, 224, 224), torch.zeros(8)) for _ in range(count // 8)]
                moments, seconds = timed_parts(small, model, less, loader)
                for part, value in zip(PARTS, seconds, strict=True):
                    samples[part].append({"blocks": depth, "images": count, "cpu_seconds": value})
                statistics_bytes = sum(map(held_bytes, moments.values())) / depth * DEPTH
    expected = {part: extrapolated(rows, PARTS[part], DEPTH, IMAGES) for part, rows in samples.items()}
    tokens, width = (224 // 16) ** 2 + 1, 768
    content: dict[str, Any] = {
        "command": f"python -m secateur_studies.compensate_cost --repeats {repeats}",
        "environment": asdict(environment()),
        "threads": torch.get_num_threads(),
        "model": MODEL,
        "removed": "half of the MLP hidden units",
        "images": IMAGES,
        "extrapolated_cpu_seconds": {**expected, "total": sum(expected.values())},
        "statistics_bytes": statistics_bytes,
        "stream_files_bytes": 2 * IMAGES * tokens * width * 4,
        "peak_bytes_of_the_measured_parts": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "samples": samples,
    }
    write_json(out, "compensate_cost", content)
    click.echo({key: content[key] for key in ("extrapolated_cpu_seconds", "statistics_bytes", "stream_files_bytes")})


def half_of(groups: Groups) -> Plan:
    """The plan that keeps every second MLP hidden unit."""
    return plan_from_kept(groups, {g.name: range(0, g.units, 2) for g in groups if g.kind == "mlp_hidden"})


def timed_parts(
    small: nn.Module, dense: nn.Module, less: Narrowed, loader: Sequence[tuple[Tensor, Tensor]]
) -> tuple[dict[str, list[Moments]], list[float]]:
    """The statistics of one repair, and the processor's seconds for each of its `PARTS`; repairs `small` in place."""
    seconds: list[float] = []

    def timed(work: Callable[[], Any]) -> Any:
        started = time.process_time()
        result = work()
        seconds.append(time.process_time() - started)
        return result

    moments = timed(lambda: gather_moments(dense, less.probes(dense), loader, FOLDS))
    timed(lambda: refit(small, dense, less, moments, RIDGES))
    timed(lambda: refit_branches(small, dense, less.layers, loader))
    return moments, seconds


def held_bytes(folds: Sequence[Moments]) -> int:
    """The memory of one layer's statistics."""
    return sum(tensor.numel() * tensor.element_size() for part in folds for tensor in (part.total, part.upper))


def extrapolated(rows: Sequence[dict[str, float]], terms: Terms, blocks: int, images: int) -> float:
    """The seconds at `blocks` and `images` by the least-squares fit of `terms` to the rows' seconds."""
    left = np.array([terms(row["blocks"], row["images"]) for row in rows])
    fitted, *_ = np.linalg.lstsq(left, np.array([row["cpu_seconds"] for row in rows]), rcond=None)
    return float(np.array(terms(blocks, images)) @ fitted)


if __name__ == "__main__":
    main()
