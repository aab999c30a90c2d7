"""Seconds and peak memory from a dense model to a pruned one, beside Torch-Pruning, in processes that take turns.

`python -m secateur_studies.structure_speed --peer DIR` measures both sides on ViT-B/16 and ResNet-50 with random
weights, half of the units or channels gone by magnitude. DIR is where torch-pruning was installed (`pip install
--no-deps --target DIR torch-pruning`). Secateur's time includes the trial of every group and the proof that removed
equals masked. Both sides prune a small model first, so that the memory of the libraries that they load does not count.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from secateur.core.files import write_json

MODELS = ("vit_base_patch16_224", "resnet50")


@click.command()
@click.option("--peer", type=click.Path(path_type=Path, exists=True), required=True, help="Where torch-pruning lies.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("benchmarks/results/structure_speed.json"))
@click.option("--rounds", default=2, show_default=True, help="Each round runs A B B A.")
@click.option("--one", nargs=2, hidden=True, help="Measure one side of one model in this process.")
def main(peer: Path, out: Path, rounds: int, one: tuple[str, str] | None) -> None:
    """Measures both sides in turn and writes all samples."""
    from secateur.benchmarks.environment import environment

    if one:
        print(json.dumps(_secateur(one[1]) if one[0] == "secateur" else _peer(one[1], peer)))
        return
    rows: dict[str, Any] = {}
    for name in MODELS:
        samples: dict[str, list[dict[str, float]]] = {"secateur": [], "torch-pruning": []}
        for side in ("secateur", "torch-pruning", "torch-pruning", "secateur") * rounds:
            command = [sys.executable, "-P", "-m", "secateur_studies.structure_speed", "--peer", str(peer)]
            done = subprocess.run([*command, "--one", side, name], capture_output=True, text=True, check=True)
            samples[side].append(json.loads(done.stdout.splitlines()[-1]))
            click.echo(f"{name} {side}: {samples[side][-1]}", err=True)
        medians = {side: statistics.median(sample["seconds"] for sample in found) for side, found in samples.items()}
        rows[name] = {
            "samples": samples,
            "median_seconds": medians,
            "seconds_ratio": medians["secateur"] / medians["torch-pruning"],
        }
    content = {
        "command": f"python -m secateur_studies.structure_speed --peer DIR --rounds {rounds}",
        "environment": asdict(environment()),
        "peer": "torch-pruning 1.6.1",
        "models": rows,
    }
    write_json(out, "structure_speed", content)


def _secateur(name: str) -> dict[str, float]:
    """Analysis, plan and proven surgery."""
    import torch

    import secateur as sc

    torch.set_num_threads(2)
    sc.find_groups(_small(), torch.zeros(1, 3, 8, 8))
    model = sc.create_model(name)
    size = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    before = begin_peak()
    started = time.perf_counter()
    groups = sc.find_groups(model, torch.randn(1, 3, 224, 224))
    analysed = time.perf_counter()
    scores = sc.score(model, groups, (), "magnitude")
    plan = sc.make_plan(groups, scores, sc.Budget(units=0.5), allocation="uniform")
    sc.prune(model, plan, groups)
    seconds = time.perf_counter() - started
    return {
        "seconds": seconds,
        "analysis_seconds": analysed - started,
        "model_bytes": size,
        "added_peak_bytes": peak_bytes() - before,
    }


def _peer(name: str, folder: Path) -> dict[str, float]:
    """Torch-Pruning as its timm example uses it: dependency graph, group magnitude, half of the channels."""
    sys.path.append(str(folder))
    import timm
    import torch
    import torch_pruning  # type: ignore[import-not-found]  # a peer, installed by hand

    torch.set_num_threads(2)
    torch_pruning.pruner.MagnitudePruner(
        _small(), torch.zeros(1, 3, 8, 8), importance=torch_pruning.importance.GroupMagnitudeImportance()
    ).step()
    model = timm.create_model(name).eval()
    size = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    heads = {
        module.qkv: module.num_heads
        for module in model.modules()
        if hasattr(module, "qkv") and hasattr(module, "num_heads")
    }
    before = begin_peak()
    started = time.perf_counter()
    pruner = torch_pruning.pruner.MagnitudePruner(
        model,
        torch.randn(1, 3, 224, 224),
        importance=torch_pruning.importance.GroupMagnitudeImportance(),
        pruning_ratio=0.5,
        round_to=8,
        num_heads=heads,
        ignored_layers=[
            module for module in model.modules() if getattr(module, "out_features", 0) == model.num_classes
        ],
    )
    analysed = time.perf_counter()
    pruner.step()
    seconds = time.perf_counter() - started
    return {
        "seconds": seconds,
        "analysis_seconds": analysed - started,
        "model_bytes": size,
        "added_peak_bytes": peak_bytes() - before,
    }


def _small() -> Any:
    from torch import nn

    return nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Flatten(), nn.Linear(512, 8), nn.Linear(8, 4)).eval()


def begin_peak() -> int:
    """Forgets the most memory that this process has held so far, and tells what it holds now."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return peak_bytes()


def peak_bytes() -> int:
    """The most memory that this process has held since `begin_peak`."""
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in status if line.startswith("VmHWM")).split()[1]) * 1024


if __name__ == "__main__":
    main()
