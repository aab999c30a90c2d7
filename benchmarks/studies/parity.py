"""How far graphs are from PyTorch in each type of a whole graph: what the tolerances of `export.parity` rest on.

`python -m secateur_studies.parity --data DATA` exports trained models, and timm's small test models with random
weights, and compares each graph with its model on seeded inputs. Graphs in 8 bits are judged by `eight_bits`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import timm
import torch
from secateur_studies.score_tables import Table
from secateur_studies.trained_models import TRAINED, open_trained
from torch import nn

from secateur.benchmarks.environment import environment
from secateur.core.files import read_json, write_json
from secateur.export.parity import Difference, differences
from secateur.export.precision import COSINES, PRECISIONS, TOLERANCES, Precision
from secateur.export.to_onnx import export_onnx
from secateur.pipeline.data.loader import Batches
from secateur.pipeline.models.create import create_model
from secateur.pipeline.models.inputs import input_shape

SMALL = "test_*"
"""Timm's models for tests, one of each of its commonest kinds."""
IMAGES = 64
"""Calibration images that say which nodes fp16 cannot hold."""
HEAD = ("precision", "graphs", "largest difference", "tolerance", "times the largest", "least cosine", "allowed")


@click.command()
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("benchmarks/results/parity.json"))
def main(data: Path, out: Path) -> None:
    """Exports, compares, and writes what is known after each model; what the file has is not measured again."""
    torch.set_num_threads(1)
    content = read_json(out, "parity") if out.is_file() else {"rows": {}}
    content["command"] = "python -m secateur_studies.parity --data DATA"
    content["environment"] = asdict(environment(1))
    rows: dict[str, Any] = content["rows"]
    for name, model, shape, images in _models(data, rows):
        rows[name] = compared(model, shape, images)
        shown = ", ".join(f"{word} {row['relative']:.1e}" for word, row in rows[name].items() if "relative" in row)
        click.echo(f"{name}: {shown}", err=True)
        write_json(out, "parity", {key: value for key, value in content.items() if key != "schema"})


def _models(data: Path, done: Mapping[str, Any]) -> Iterator[tuple[str, nn.Module, tuple[int, ...], Batches | None]]:
    """The models that are not done, each with the shape of its inputs and, where it is trained, images for fp16."""
    for name in timm.list_models(SMALL):
        if name not in done:
            torch.manual_seed(0)
            model = create_model(name)
            yield name, model, input_shape(model), None
    for name in TRAINED:
        if name not in done:
            task = open_trained(name, data, IMAGES, 10)
            yield name, task.model, task.shape, task.calibration


def compared(model: nn.Module, shape: tuple[int, ...], images: Batches | None) -> dict[str, Any]:
    """For each precision, the worst of all differences between a model and its graph."""
    found: dict[str, Any] = {}
    with TemporaryDirectory() as folder:
        for precision in PRECISIONS:
            path = Path(folder) / f"{precision}.onnx"
            export_onnx(model, path, input_shape=shape, precision=precision, calibration=images)
            found[precision] = worst_of(differences(model, path))
    return found


def worst_of(found: Iterable[Difference]) -> dict[str, float]:
    """The largest relative difference, the least cosine and the least agreement."""
    every = list(found)
    return {
        "relative": max(one.relative for one in every),
        "cosine": min(one.cosine for one in every),
        "agreement": min(one.agreement for one in every),
    }


def worst_by_precision(rows: Mapping[str, Any]) -> dict[Precision, tuple[int, float, float]]:
    """For each precision, how many graphs there are, their largest relative difference and their least cosine."""
    found = {}
    for precision in PRECISIONS:
        all_of = [row[precision] for row in rows.values()]
        relative, cosine = max(one["relative"] for one in all_of), min(one["cosine"] for one in all_of)
        found[precision] = (len(all_of), relative, cosine)
    return found


def table_of(rows: Mapping[str, Any]) -> Table:
    """The worst of each precision beside what is allowed."""
    lines: list[tuple[str, ...]] = []
    for precision, (count, relative, cosine) in worst_by_precision(rows).items():
        allowed = TOLERANCES[precision]
        shown = (
            f"{relative:.1e}",
            f"{allowed:g}",
            f"{allowed / relative:.0f}",
            f"{cosine:.4f}",
            f"{COSINES[precision]}",
        )
        lines.append((precision, str(count), *shown))
    return HEAD, lines


if __name__ == "__main__":
    main()
