"""TensorRT-RTX engines of DeiT-Tiny in 16 and 8 bits, built ahead of time for GPUs that are not here.

`python -m secateur_studies.eight_bit_engines --data DATA` exports the trained model in each type, builds an engine of
each graph for each GPU, and writes what the builder reports of it: the layers by kind and precision, fused attention,
the size and the build time. Nothing is run: whether it is fast is for the device to say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import torch
from secateur_studies.trained_models import Trained, open_trained

from secateur.benchmarks.environment import environment
from secateur.core.errors import EngineError
from secateur.core.files import write_json
from secateur.export.engines import build_engine
from secateur.export.graph_types import declared_precisions, read_graph
from secateur.export.onnx_info import OnnxInfo
from secateur.export.quantize.quantize import quantize_onnx
from secateur.export.quantize.spec import Quantization
from secateur.export.to_onnx import export_onnx

MODEL = "deit_tiny_patch16_224"
DEVICES = ("sm_80", "sm_86", "sm_89", "sm_120")
Graphs = dict[str, Callable[[Path], OnnxInfo]]
"""What writes each graph, by its name."""


@click.command()
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("benchmarks/results/eight_bit_engines.json"))
@click.option("--images", default=128, show_default=True, help="Calibration images.")
@click.option("--devices", default=",".join(DEVICES), show_default=True)
def main(data: Path, out: Path, images: int, devices: str) -> None:
    """Builds every engine and writes what is known after each."""
    torch.set_num_threads(1)
    content: dict[str, Any] = {
        "command": f"python -m secateur_studies.eight_bit_engines --images {images} --devices {devices}",
        "environment": asdict(environment(1)),
        "model": MODEL,
        "graphs": {},
    }
    task = open_trained(MODEL, data, images, 1)
    for word, graph in rows(task, tuple(devices.split(","))):
        content["graphs"][word] = graph
        click.echo(f"{word}: {', '.join(graph['engines'])}", err=True)
        write_json(out, "eight_bit_engines", content)


def rows(task: Trained, devices: tuple[str, ...]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each graph of the model with its engines, by the names of the GPUs."""
    with TemporaryDirectory() as folder:
        fp32 = export_onnx(task.model, Path(folder) / "fp32.onnx", input_shape=task.shape).path
        for word, write in graphs(task, fp32).items():
            info = write(Path(folder) / "model.onnx")
            declared = declared_precisions(read_graph(info.path))
            engines = {device: engine(info.path, device, Path(folder) / "engines") for device in devices}
            products = dict(Counter(declared.values()))
            yield word, {"size_bytes": info.size_bytes, "products": products, "kept": info.kept, "engines": engines}


def graphs(task: Trained, fp32: Path) -> Graphs:
    """The graphs to build; of int8, one with float32 between the products, to see what that costs."""

    def quantised(precision: str, options: Quantization) -> Callable[[Path], OnnxInfo]:
        return lambda path: quantize_onnx(fp32, path, task.calibration, precision, options)[0]

    return {
        "fp32": lambda path: export_onnx(task.model, path, input_shape=task.shape),
        "fp16": lambda path: export_onnx(
            task.model, path, input_shape=task.shape, precision="fp16", calibration=task.calibration
        ),
        "int8, the rest fp16": quantised("int8", Quantization("minmax", rest="fp16")),
        "int8, the rest fp32": quantised("int8", Quantization("minmax", rest="fp32")),
        "fp8, the rest fp16": quantised("fp8", Quantization("minmax", rest="fp16")),
    }


def engine(path: Path, device: str, folder: Path) -> dict[str, Any]:
    """What is known of a graph's engine for a GPU, or why there is none."""
    try:
        info = build_engine(path, f"tensorrt_rtx:{device}", folder)
    except EngineError as error:
        return {"refused": str(error)}
    kinds = Counter(f"{layer.kind} {layer.precision}" for layer in info.layers)
    return {
        "size_bytes": info.size_bytes,
        "seconds": info.seconds,
        "runtime_version": info.runtime_version,
        "inspected": info.inspected,
        "precisions": info.precisions,
        "layers": dict(kinds.most_common()),
        "fused_attention": info.attention,
    }


def engines_table(content: dict[str, Any]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The head and the rows of the table: an engine a row, those of a graph together."""
    head = ("graph, GPU", "MB", "s to build", "layers", "fused attention")
    lines: list[tuple[str, ...]] = []
    for word, graph in content["graphs"].items():
        for device, found in graph["engines"].items():
            if "refused" in found:
                lines.append((f"{word}, {device}", "none", "", "refused", ""))
                continue
            layers = ", ".join(f"{count} {precision}" for precision, count in found["precisions"].items())
            size, seconds = f"{found['size_bytes'] / 1e6:.1f}", f"{found['seconds']:.0f}"
            lines.append((f"{word}, {device}", size, seconds, layers, str(found["fused_attention"])))
    return head, lines


if __name__ == "__main__":
    main()
