"""DeiT-Tiny and EfficientNet-Lite0 in 8 bits: by secateur, by ONNX Runtime's quantizer and by NVIDIA's ModelOpt.

`python -m secateur_studies.eight_bits --data DATA --modelopt PYTHON` gives all of them the same fp32 graph and the same
calibration images, and counts what each graph classifies right in ONNX Runtime on the CPU, on other images. ModelOpt
pins older packages than secateur takes, so `PYTHON` is an interpreter of an environment of its own; without one it is
left out.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray

from secateur.benchmarks.environment import environment
from secateur.core.errors import BenchError
from secateur.core.files import read_json, write_json
from secateur.export.graph_types import declared_precisions, graph_precision, read_graph
from secateur.export.ort_engine import open_session
from secateur.export.quantize.quantize import quantize_onnx
from secateur.export.quantize.spec import Quantization
from secateur.export.to_onnx import export_onnx
from secateur.pipeline.data.dataset import open_data
from secateur.pipeline.data.loader import Loader
from secateur.pipeline.data.spec import DataSpec
from secateur.pipeline.models.create import create_model
from secateur.pipeline.models.inputs import transform_for
from secateur.pipeline.models.spec import ModelSpec

MODELS = ("deit_tiny_patch16_224", "tf_efficientnet_lite0")
BATCH = 16
MODELOPT = """
import sys, numpy
from modelopt.onnx.quantization import quantize
source, images, out, method = sys.argv[1:]
quantize(
    onnx_path=source, quantize_mode="int8", calibration_data=numpy.load(images), calibration_method=method,
    calibration_eps=["cpu"], output_path=out, high_precision_dtype="fp32", log_level="ERROR",
)
"""
"""What ModelOpt's interpreter runs; the products that stay wide are fp32 as in the other graphs."""

Writer = Callable[[Path, Path, Loader], dict[str, Any]]
"""Writes the quantised graph of the first path to the second one, and says how."""


@click.command()
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("benchmarks/results/eight_bits.json"))
@click.option("--modelopt", default="", help="The python of an environment with nvidia-modelopt[onnx].")
@click.option("--models", default=",".join(MODELS), show_default=True)
@click.option("--images", default=128, show_default=True, help="Calibration images.")
@click.option("--held-out", default=300, show_default=True, help="Images that are counted.")
def main(data: Path, out: Path, modelopt: str, models: str, images: int, held_out: int) -> None:
    """Quantises and counts, and writes what is known after each graph; other models in the file stay."""
    torch.set_num_threads(1)
    content = read_json(out, "eight_bits") if out.is_file() else {"runs": {}}
    for name in models.split(","):
        command = f"python -m secateur_studies.eight_bits --models {name} --images {images} --held-out {held_out}"
        run: dict[str, Any] = {
            "command": command + (" --modelopt PYTHON" if modelopt else ""),
            "environment": asdict(environment(1)),
            "images": images,
            "held_out": held_out,
            "graphs": {},
        }
        content["runs"][name] = run
        for word, row in rows(name, data, modelopt, images, held_out):
            run["graphs"][word] = row
            click.echo(f"{name}, {word}: top-1 {row['top1']:.1f}, agrees {row['agreement']:.1%}", err=True)
            write_json(out, "eight_bits", {"runs": content["runs"]})


def rows(name: str, data: Path, modelopt: str, images: int, held_out: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """What each graph of a model classifies right, the fp32 graph's first."""
    spec = DataSpec(calibration=str(data / "imagenet-train1000"), evaluation=str(data / "imagenet-val1000"))
    model = create_model(ModelSpec(name, weights=str(data / "weights" / f"{name}.safetensors")), num_classes=None)
    source, transform = open_data(spec), transform_for(model)
    generator = np.random.default_rng(0)
    chosen = [
        np.sort(generator.permutation(len(side))[:count])
        for side, count in ((source.calibration, images), (source.evaluation, held_out))
    ]
    calibration = Loader(source.calibration, transform, BATCH, chosen[0])
    evaluation = Loader(source.evaluation, transform, BATCH, chosen[1])
    with TemporaryDirectory() as folder:
        fp32 = export_onnx(model, Path(folder) / "fp32.onnx").path
        labels, dense = predictions(fp32, evaluation)
        yield "fp32", counted(fp32, labels, dense, dense)
        for word, write in writers(modelopt).items():
            path = Path(folder) / "quantised.onnx"
            how = write(fp32, path, calibration)
            yield word, {**counted(path, labels, predictions(path, evaluation)[1], dense), **how}
            path.unlink()


def writers(modelopt: str) -> dict[str, Writer]:
    """All that quantise, by name."""
    found: dict[str, Writer] = {
        "secateur int8": lambda source, out, images: asdict(quantize_onnx(source, out, images)[1]),
        "secateur int8, softmax to 1": lambda source, out, images: asdict(
            quantize_onnx(source, out, images, options=Quantization(softmax="one"))[1]
        ),
        "secateur fp8": lambda source, out, images: asdict(quantize_onnx(source, out, images, "fp8")[1]),
        "onnxruntime.quantization": by_onnxruntime,
    }
    if modelopt:
        for method in ("entropy", "max"):
            found[f"ModelOpt {method}"] = lambda source, out, images, method=method: by_modelopt(  # type: ignore[misc]
                source, out, images, modelopt, method
            )
    return found


def by_onnxruntime(source: Path, out: Path, images: Loader) -> dict[str, Any]:
    """ONNX Runtime's static quantizer with its own defaults, but a scale for each channel of the weights."""
    from onnxruntime.quantization import CalibrationDataReader, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # it has no types
        def __init__(self) -> None:
            self.batches = iter(images)

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            batch = next(self.batches, None)
            return None if batch is None else {"input": batch[0].numpy()}

    prepared = out.with_suffix(".prepared.onnx")
    quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
    quantize_static(str(prepared), str(out), Reader(), per_channel=True)
    return {}


def by_modelopt(source: Path, out: Path, images: Loader, python: str, method: str) -> dict[str, Any]:
    """ModelOpt's placement and calibration, in its own environment; raises `BenchError` where that fails."""
    arrays = out.with_suffix(".npy")
    np.save(arrays, np.concatenate([batch.numpy() for batch, _ in images]))
    arguments = [python, "-c", MODELOPT, str(source), str(arrays), str(out), method]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if done.returncode or not out.is_file():
        raise BenchError(f"ModelOpt failed ({done.stderr[-400:].strip()}): give an environment in which it works")
    return {}


def predictions(path: Path, images: Loader) -> tuple[NDArray[Any], NDArray[Any]]:
    """The labels `[images]` and the logits `[images, classes]` of a graph in ONNX Runtime."""
    fp8 = graph_precision(declared_precisions(read_graph(path))) == "fp8"
    session = open_session(path, "cpu", threads=1, as_written=fp8)
    pairs = [(labels.numpy(), session.run(["logits"], {"input": batch.numpy()})[0]) for batch, labels in images]
    return np.concatenate([labels for labels, _ in pairs]), np.concatenate([logits for _, logits in pairs])


def counted(path: Path, labels: NDArray[Any], logits: NDArray[Any], dense: NDArray[Any]) -> dict[str, Any]:
    """Top-1 in percent, agreement with the fp32 graph, the error's share of the variance, and what was right."""
    right = logits.argmax(1) == labels
    return {
        "top1": 100 * float(right.mean()),
        "agreement": float((logits.argmax(1) == dense.argmax(1)).mean()),
        "error": float(((logits - dense) ** 2).mean() / dense.var()),
        "size_bytes": path.stat().st_size,
        "right": "".join("1" if one else "0" for one in right),
    }


def table_of(content: dict[str, Any]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The head and the rows of the table: a graph a row, three columns for each model."""
    runs = content["runs"]
    words = list(dict.fromkeys(word for run in runs.values() for word in run["graphs"]))
    head = tuple(f"`{name}`, {what}" for name in runs for what in ("top-1", "agrees with fp32", "error"))
    lines = []
    for word in words:
        cells = [run["graphs"].get(word) for run in runs.values()]
        shown = [
            (f"{row['top1']:.1f}", f"{row['agreement']:.1%}", f"{row['error']:.2%}") if row else ("-", "-", "-")
            for row in cells
        ]
        lines.append((word, *(cell for part in shown for cell in part)))
    return ("graph", *head), lines


if __name__ == "__main__":
    main()
