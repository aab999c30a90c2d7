"""Trained models, dense and pruned to half, in 16 and 8 bits: by secateur, ONNX Runtime's quantizer and ModelOpt.

`python -m secateur_studies.eight_bits --data DATA --modelopt PYTHON` gives all of them the same fp32 graph and the same
calibration images, counts what each graph classifies right in ONNX Runtime on other images, and times it beside the
fp32 graph. `--ten-classes` counts Imagenette's 2,000 images of ten classes instead, beside which 1,000 of all classes
are few, and compares int8 alone. ModelOpt pins older packages than secateur takes, so `PYTHON` is an interpreter of an
environment of its own; without one it is left out.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray
from secateur_studies.trained_models import TRAINED, Trained, halved, open_trained, ten_classes

from secateur.benchmarks.environment import environment
from secateur.benchmarks.paired import measure_pair
from secateur.benchmarks.runners import Subject, make_runner
from secateur.core.errors import BenchError
from secateur.core.files import read_json, write_json
from secateur.export.graph_types import declared_precisions, graph_precision, graph_tensors, read_graph
from secateur.export.ort_engine import open_session
from secateur.export.parity import in_float32
from secateur.export.quantize.limit import Limit
from secateur.export.quantize.quantize import quantize_onnx
from secateur.export.quantize.spec import Quantization
from secateur.export.to_onnx import export_onnx
from secateur.pipeline.analysis.graph_judge import GraphJudge
from secateur.pipeline.data.loader import Batches
from secateur.pipeline.tasks.classify import Classify

SIDES = ("dense", "half")
SECONDS = 4.0
"""How long a graph is timed beside the fp32 graph."""
MOST_DROP = 0.5
"""Points of top-1 that mixed precision may lose on the images that choose it."""
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

CPU = Quantization(rest="fp32", runtime="tensorrt")
"""What ONNX Runtime runs fastest on a CPU between the products in 8 bits, whose pairs are placed for TensorRT."""

Writer = Callable[[Path, Path, Batches], dict[str, Any]]
"""Writes the quantised graph of the first path to the second one, and says how."""


@click.command()
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("benchmarks/results/eight_bits.json"))
@click.option("--modelopt", default="", help="The python of an environment with nvidia-modelopt[onnx].")
@click.option("--models", default=",".join(TRAINED), show_default=True)
@click.option("--images", default=128, show_default=True, help="Calibration images of the quantisation.")
@click.option("--held-out", default=1000, show_default=True, help="Images that are counted.")
@click.option("--for-onnxruntime", is_flag=True, help="Secateur's int8 alone, with pairs placed for ONNX Runtime.")
@click.option("--ten-classes", "ten", is_flag=True, help="Int8 alone, counted on Imagenette's images.")
def main(
    data: Path, out: Path, modelopt: str, models: str, images: int, held_out: int, for_onnxruntime: bool, ten: bool
) -> None:
    """Prunes, quantises and counts, and writes what is known after each graph; other models in the file stay."""
    torch.set_num_threads(1)
    content = read_json(out, "eight_bits") if out.is_file() else {"runs": {}}
    words = f"{' --for-onnxruntime' if for_onnxruntime else ''}{' --ten-classes' if ten else ''}"
    for name in models.split(","):
        task = open_trained(name, data, images, held_out)
        if ten:
            task = replace(task, evaluation=ten_classes(task.model, data / "imagenette"))
        for side in SIDES:
            command = f"python -m secateur_studies.eight_bits --models {name} --images {images} --held-out {held_out}"
            run: dict[str, Any] = {
                "command": command + (" --modelopt PYTHON" if modelopt else "") + words,
                "environment": asdict(environment(1)),
                "images": images,
                "graphs": {},
            }
            title = f"{name}, {side}{', for ONNX Runtime' if for_onnxruntime else ''}{', ten classes' if ten else ''}"
            content["runs"][title] = run
            for word, row in int8_rows(task, side, modelopt) if ten else rows(task, side, modelopt, for_onnxruntime):
                run["graphs"][word] = row
                run["held_out"] = len(row["right"])
                click.echo(f"{title}, {word}: top-1 {row['top1']:.1f}, agrees {row['agreement']:.1%}", err=True)
                write_json(out, "eight_bits", {"runs": content["runs"]})


def int8_rows(task: Trained, side: str, modelopt: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """What the graphs in int8 classify right, after the fp32 graph; nothing is timed."""
    model = halved(task) if side == "half" else task.model
    every = {word: write for word, write in writers(modelopt).items() if word != "secateur fp8"}
    every["secateur int8, for ONNX Runtime"] = partial(by_secateur, options=replace(CPU, runtime="onnxruntime"))
    with TemporaryDirectory() as folder:
        fp32 = export_onnx(model, Path(folder) / "fp32.onnx", input_shape=task.shape).path
        labels, wide = predictions(fp32, task.evaluation)
        yield "fp32", counted(fp32, labels, wide, wide)
        path = Path(folder) / "quantised.onnx"
        for word, write in every.items():
            how = write(fp32, path, task.calibration)
            yield word, {**counted(path, labels, predictions(path, task.evaluation)[1], wide), **how}


def rows(
    task: Trained, side: str, modelopt: str, for_onnxruntime: bool = False
) -> Iterator[tuple[str, dict[str, Any]]]:
    """What each graph of a model classifies right, the fp32 graph's first."""
    options = replace(CPU, runtime="onnxruntime") if for_onnxruntime else CPU
    model = halved(task) if side == "half" else task.model
    with TemporaryDirectory() as folder:
        fp32 = export_onnx(model, Path(folder) / "fp32.onnx", input_shape=task.shape).path
        labels, wide = predictions(fp32, task.evaluation)
        yield "fp32", counted(fp32, labels, wide, wide)
        for precision in () if for_onnxruntime else ("fp16", "bf16"):
            path = Path(folder) / f"{precision}.onnx"
            export_onnx(model, path, input_shape=task.shape, precision=precision)
            row = counted(path, labels, predictions(path, task.evaluation)[1], wide)
            yield precision, row if precision == "bf16" else {**row, **timed(fp32, path)}
        judge = GraphJudge(model, fp32, task.choice, task.few, Classify(), source=list(task.shape))
        alone: dict[str, Writer] = {"secateur int8": partial(by_secateur, options=options)}
        every = alone if for_onnxruntime else writers(modelopt, softmax=_has(fp32, "Softmax"))
        every["secateur int8 and fp32"] = partial(by_secateur, options=options, limit=Limit(MOST_DROP, judge))
        for word, write in every.items():
            path = Path(folder) / "quantised.onnx"
            how = write(fp32, path, task.calibration)
            row = counted(path, labels, predictions(path, task.evaluation)[1], wide)
            yield word, {**row, **how, **({} if word == "secateur fp8" else timed(fp32, path))}
            path.unlink()


def by_secateur(
    source: Path,
    out: Path,
    images: Batches,
    precision: str = "int8",
    options: Quantization = CPU,
    limit: Limit | None = None,
) -> dict[str, Any]:
    """Secateur's graph in 8 bits; with a limit, products go back to fp32 until it holds."""
    return asdict(quantize_onnx(source, out, images, precision, options, limit=limit)[1])


def timed(fp32: Path, path: Path) -> dict[str, Any]:
    """The times in milliseconds of the fp32 graph and another one in ONNX Runtime on one thread, and their ratio."""
    sides = [make_runner(Subject("graph", onnx=one), "onnxruntime:cpu", threads=1) for one in (fp32, path)]
    try:
        pair = measure_pair(sides[0], sides[1], seconds=SECONDS)
    finally:
        for side in sides:
            side.close()
    return {"speedup": asdict(pair.interval()), "fp32_ms": pair.a_ms, "ms": pair.b_ms}


def _has(path: Path, operation: str) -> bool:
    return any(node.op_type == operation for node in read_graph(path).graph.node)


def writers(modelopt: str, softmax: bool = False) -> dict[str, Writer]:
    """All that quantise, by name; of graphs with `softmax`, one with its range fixed and one not re-centred too."""
    found: dict[str, Writer] = {
        "secateur int8": by_secateur,
        "secateur fp8": partial(by_secateur, precision="fp8"),
        "onnxruntime.quantization": by_onnxruntime,
    }
    if softmax:
        found["secateur int8, softmax to 1"] = partial(by_secateur, options=replace(CPU, softmax="one"))
        found["secateur int8, not re-centred"] = partial(by_secateur, options=replace(CPU, recentre=False))
    if modelopt:
        for method in ("entropy", "max"):
            found[f"ModelOpt {method}"] = lambda source, out, images, method=method: by_modelopt(  # type: ignore[misc]
                source, out, images, modelopt, method
            )
    return found


def by_onnxruntime(source: Path, out: Path, images: Batches) -> dict[str, Any]:
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


def by_modelopt(source: Path, out: Path, images: Batches, python: str, method: str) -> dict[str, Any]:
    """ModelOpt's placement and calibration, in its own environment; raises `BenchError` where that fails."""
    arrays = out.with_suffix(".npy")
    np.save(arrays, np.concatenate([batch.numpy() for batch, _ in images]))
    arguments = [python, "-c", MODELOPT, str(source), str(arrays), str(out), method]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if done.returncode or not out.is_file():
        raise BenchError(f"ModelOpt failed ({done.stderr[-400:].strip()}): give an environment in which it works")
    return {}


def predictions(path: Path, images: Batches) -> tuple[NDArray[Any], NDArray[Any]]:
    """The labels `[images]` and the logits `[images, classes]` of a graph in ONNX Runtime.

    It has no kernels for bf16: there the same graph with the same rounded weights runs in float32.
    """
    graph = read_graph(path)
    (takes,), (gives,) = graph_tensors(graph)
    precision = graph_precision(declared_precisions(graph))
    with TemporaryDirectory() as folder:
        if precision == "bf16":
            wide = Path(folder) / path.name
            wide.write_bytes(in_float32(path))
            path = wide
        session = open_session(path, "cpu", threads=1, as_written=precision == "fp8")
        kind = np.float16 if takes.dtype == "float16" else np.float32
        pairs = [
            (labels.numpy(), session.run([gives.name], {takes.name: batch.numpy().astype(kind)})[0])
            for batch, labels in images
        ]
    return np.concatenate([labels for labels, _ in pairs]), np.concatenate(
        [logits for _, logits in pairs], dtype=np.float32
    )


def counted(path: Path, labels: NDArray[Any], logits: NDArray[Any], wide: NDArray[Any]) -> dict[str, Any]:
    """Top-1 in percent, agreement with the fp32 graph, the error's share of the variance, and what was right."""
    right = logits.argmax(1) == labels
    return {
        "top1": 100 * float(right.mean()),
        "agreement": float((logits.argmax(1) == wide.argmax(1)).mean()),
        "error": float(((logits - wide) ** 2).mean() / wide.var()),
        "size_bytes": path.stat().st_size,
        "right": "".join("1" if one else "0" for one in right),
    }


def loss(row: Mapping[str, Any], wide: Mapping[str, Any]) -> tuple[float, float]:
    """The points of top-1 that a graph gives more than another one, and half of the 95 % interval of that."""
    return paired([100 * int(one) for one in row["right"]], [100 * int(one) for one in wide["right"]])


def paired(ones: Sequence[float], others: Sequence[float]) -> tuple[float, float]:
    """By how much the values of the same images are larger on average, and half of the 95 % interval of that."""
    more = np.subtract(ones, others)
    return float(more.mean()), 1.96 * float(more.std(ddof=1)) / len(more) ** 0.5


def table_of(content: dict[str, Any]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The head and the rows of the table: a graph a row, those of a model together."""
    head = ("graph", "top-1", "against fp32, points", "same class", "error of the logits", "MB", "times as fast")
    lines: list[tuple[str, ...]] = []
    for name, run in content["runs"].items():
        graphs = run["graphs"]
        for word, row in graphs.items():
            more, around = loss(row, graphs["fp32"])
            fast = row.get("speedup")
            lines.append(
                (
                    f"{name}: {word}",
                    f"{row['top1']:.1f}",
                    "" if word == "fp32" else f"{more:+.1f} ± {around:.1f}",
                    f"{row['agreement']:.1%}",
                    f"{row['error']:.2%}",
                    f"{row['size_bytes'] / 1e6:.1f}",
                    f"{fast['ratio']:.2f} [{fast['low']:.2f}, {fast['high']:.2f}]" if fast else "",
                )
            )
    return head, lines


if __name__ == "__main__":
    main()
