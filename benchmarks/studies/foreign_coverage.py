"""How many models that timm did not make secateur takes the whole way, with Torch-Pruning beside it.

`python -m secateur_studies.foreign_coverage --packages DIR` prunes each of `foreign_models` to about half of its MACs,
proves it, saves it, loads it in a new process, and goes on to an engine; each in a process of its own. DIR is where the
libraries lie that are no dependencies (`pip install --no-deps --target DIR torch-pruning segmentation-models-pytorch
open_clip_torch ftfy wcwidth`). Torch-Pruning prunes half of the channels by group magnitude as its own examples do, and
has to run, and to agree with itself in ONNX Runtime, within a time of its own. Weights and planted mistakes are those
of the study `coverage`.
"""

from __future__ import annotations

import functools
import importlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from secateur_studies.foreign_models import MODELS
from secateur_studies.whole_way import (
    as_trained,
    check_same,
    heads_cell,
    in_a_process,
    mistakes,
    noticed_cell,
    number,
    reached,
    whole_way,
)

from secateur.core.files import read_json, write_json, write_text

LEAST_SHARE = 0.99
"""Torch-Pruning has removed something where no more parameters than this are left."""


@click.command()
@click.option("--packages", type=click.Path(path_type=Path, exists=True), required=True, help="Where they lie.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("benchmarks/results/foreign_coverage.json"))
@click.option("--again", is_flag=True, help="Repeat the rows that failed.")
@click.option("--only", multiple=True, help="These models only.")
@click.option("--limit", default=600, show_default=True, help="Seconds for one model.")
@click.option("--peer-limit", default=300, show_default=True, help="Seconds for Torch-Pruning on one model.")
@click.option("--one", nargs=2, hidden=True, help="Measure one side of one model in this process.")
@click.option("--loaded", nargs=2, hidden=True, help="Load this model from this folder, and compare what it computes.")
def main(
    packages: Path,
    out: Path,
    again: bool,
    only: tuple[str, ...],
    limit: int,
    peer_limit: int,
    one: tuple[str, str] | None,
    loaded: tuple[str, str] | None,
) -> None:
    """Measures and writes one row for each model."""
    from secateur.benchmarks.environment import environment

    sys.path.insert(0, str(packages))
    if one is not None:
        side, name = one
        if side == "peer":
            _peer(name)
        else:
            whole_way(MODELS[name], functools.partial(_loaded, name, packages))
        return
    if loaded is not None:
        _compare(loaded[0], Path(loaded[1]))
        return
    before = read_json(out, "foreign_coverage") if out.is_file() else {}
    rows: dict[str, Any] = before.get("rows", {})
    for name in [name for name in MODELS if not only or name in only]:
        known = rows.get(name)
        if known is not None and not only and (known["stage"] == "done" or not again):
            continue
        common = ["--packages", str(packages), "--one"]
        row = in_a_process("foreign_coverage", [*common, "secateur", name], limit)
        peer = known["peer"] if known else in_a_process("foreign_coverage", [*common, "peer", name], peer_limit)
        rows[name] = {**row, "peer": peer, "commit": environment().git_commit}
        click.echo(f"{name}: {row['stage']} {row.get('error', '')}; peer {peer['stage']}", err=True)
        about = {
            "command": "python -m secateur_studies.foreign_coverage --packages DIR",
            "limit_seconds": limit,
            "peer_limit_seconds": peer_limit,
            "environment": asdict(environment()),
            "peer": "torch-pruning 1.6.1",
        }
        write_json(out, "foreign_coverage", {**about, "rows": rows})
    write_text(out.with_suffix(".md"), table(rows))


def table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """The rows as Markdown, beside what Torch-Pruning reaches."""
    pruned, loaded, same, built = (reached(rows, stage) for stage in ("verify", "load", "parity", "engine"))
    noticed, planted, hidden = mistakes(rows)
    peers = sum(row["peer"]["stage"] == "done" for row in rows.values())
    lines = [
        f"Of {len(rows)} models {pruned} are pruned and proven, {loaded} load again in a new process, {same} reach "
        f"parity in ONNX Runtime, {built} become an engine; with Torch-Pruning 1.6.1 {peers} reach parity. Of "
        f"{planted} planted wrong readers {noticed} are noticed; {hidden} groups are not verifiable.",
        "",
        "| model | secateur | Torch-Pruning 1.6.1 | MACs left | kinds | groups | heads | wrong readers "
        "noticed | fixed | parity | s | error |",
        "|---|---|---|---:|---|---:|---|---:|---:|---:|---:|---|",
    ]
    for name, row in rows.items():
        lines.append(
            f"| {name} | {row['stage']} | {row['peer']['stage']} | {number(row.get('macs_left'), '.1%')} | "
            f"{', '.join(row.get('kinds', []))} | {row.get('groups', '')} | {heads_cell(row)} | "
            f"{noticed_cell(row)} | {row.get('fixed', '')} | "
            f"{number(row.get('parity'), '.1e')} | {row['seconds']:.0f} | "
            f"{row.get('error', '').replace('|', '/')} |"
        )
    return "\n".join(lines) + "\n"


def _loaded(name: str, packages: Path, folder: Path, small: Any) -> Any:
    """The saved model; another process has loaded it before, and computed what `small` does."""
    import torch

    import secateur as sc
    from secateur.core.model_inputs import call, joined, tensors_in

    make = MODELS[name]
    pair = joined([make()[1]] * 2)
    with torch.no_grad():
        torch.save(tensors_in(call(small, pair)), folder / "expected.pt")
    command = [sys.executable, "-P", "-m", "secateur_studies.foreign_coverage", "--packages", str(packages)]
    done = subprocess.run([*command, "--loaded", name, str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ArithmeticError(f"in a new process: {done.stderr.strip().splitlines()[-1]}")
    return sc.load(folder, factory=lambda: make()[0])


def _compare(name: str, folder: Path) -> None:
    """Loads what a model was pruned to, and compares what it computes with what the saved one did."""
    import torch

    import secateur as sc
    from secateur.core.model_inputs import call, joined

    torch.set_num_threads(1)
    make = MODELS[name]
    loaded = sc.load(folder, factory=lambda: make()[0])
    with torch.no_grad():
        found = call(loaded, joined([make()[1]] * 2))
    check_same(found, torch.load(folder / "expected.pt", weights_only=True))


def _peer(name: str) -> None:
    """Half of a model's channels removed by Torch-Pruning, as its own examples do, as far as it gets."""
    import torch
    from torch import nn

    import secateur as sc
    from secateur.core.model_inputs import call

    torch_pruning = importlib.import_module("torch_pruning")
    row: dict[str, Any] = {}

    def stage(word: str) -> None:
        row["stage"] = word
        print(json.dumps(row), flush=True)

    torch.set_num_threads(1)
    torch.manual_seed(0)
    stage("create")
    model, example = MODELS[name]()
    as_trained(model.eval())
    before = sum(parameter.numel() for parameter in model.parameters())
    last = [module for module in model.modules() if isinstance(module, (nn.Linear, nn.Conv2d))][-1]
    heads = {
        module: module.num_heads for module in model.modules() if isinstance(getattr(module, "num_heads", None), int)
    }
    stage("prune")
    pruner = torch_pruning.pruner.BasePruner(
        model,
        example,
        importance=torch_pruning.importance.GroupMagnitudeImportance(),
        pruning_ratio=0.5,
        round_to=8,
        ignored_layers=[last],
        num_heads=heads,
    )
    pruner.step()
    row["params_left"] = sum(parameter.numel() for parameter in model.parameters()) / before
    stage("forward")
    with torch.no_grad():
        call(model, example)
    if row["params_left"] > LEAST_SHARE:
        raise ArithmeticError("nothing was removed")
    stage("onnx")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        sc.export_onnx(model, path, example)
        stage("parity")
        row["parity"] = sc.check_parity(model, path, batches=(1, 2)).worst.relative
    stage("done")


if __name__ == "__main__":
    main()
