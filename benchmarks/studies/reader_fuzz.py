"""Thousands of damaged files through the readers of what others have made: a sentence of ours every time.

`python -m secateur_studies.reader_fuzz --count 10000` writes a small file of each kind, damages its bytes or, of JSON
and YAML, its values, and reads it as a command would. The result says for each kind how many were tried, refused and
read all the same; what ended otherwise, or took longer than `LONGEST_SECONDS`, is named with its seed, and ends the
command with exit code 1. Bundles have a study of their own, `bundle_fuzz`.
"""

from __future__ import annotations

import json
import pickle
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file
from secateur_studies.bundle_fuzz import Random, damage_json, scrambled

from secateur.benchmarks.bootstrap import Interval
from secateur.benchmarks.environment import Environment, environment
from secateur.benchmarks.results_file import BenchResult, Latency, Side, read_bench
from secateur.core.errors import SecateurError
from secateur.core.files import write_json
from secateur.export.engine_info import EngineInfo, Layer, Profile
from secateur.export.graph_types import read_graph
from secateur.export.notes import graph_notes
from secateur.export.onnx_info import onnx_info
from secateur.export.runner.tensors import TensorInfo
from secateur.pipeline.data.class_map import read_class_map
from secateur.pipeline.data.dataset import open_data
from secateur.pipeline.data.spec import DataSpec
from secateur.pipeline.models.hub_folder import spec_of_hub_folder
from secateur.pipeline.models.shards import INDEX as SHARDS
from secateur.pipeline.models.shards import shards_of
from secateur.pipeline.models.weights_file import read_checkpoint
from secateur.pipeline.plan.latency_table import Curve, LatencyTable
from secateur.pipeline.runs.manifest import read_manifest
from secateur.pipeline.runs.recipe import read_recipe
from secateur.pipeline.structure.plan import Plan
from secateur.pipeline.structure.structure_file import StructureFile

LONGEST_SECONDS = 10.0
COUNT, SIZE = 6, 8
"""Images of a source, and their width and height."""


@dataclass(frozen=True)
class Kind:
    """Files of one kind: what writes them into a folder, and what reads that folder; `plain` ones have JSON values."""

    write: Callable[[Path], object]
    read: Callable[[Path], object]
    damaged: str = "*"
    plain: bool = False


@dataclass(frozen=True)
class End:
    """How a case ended: `refused`, `accepted`, or `raised` for what is no sentence of ours."""

    kind: str
    end: str
    said: str = ""


class TooLongError(Exception):
    """A reader that does not end."""


def _pixels() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (COUNT, SIZE, SIZE, 3), dtype=np.uint8)


def _labels() -> NDArray[np.int64]:
    return np.arange(COUNT) % 2


def _images(folder: Path) -> None:
    for label in range(2):
        (folder / str(label)).mkdir()
    for number, pixels in enumerate(_pixels()):
        suffix = ("png", "jpg", "bmp", "gif", "webp", "tiff")[number]
        Image.fromarray(pixels).save(folder / str(number % 2) / f"{number}.{suffix}")


def _idx(folder: Path) -> None:
    for side, half in (("train", slice(0, 4)), ("t10k", slice(4, 6))):
        for name, array in (
            ("images-idx3", _pixels()[half, ..., 0]),
            ("labels-idx1", _labels()[half].astype(np.uint8)),
        ):
            head = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
            (folder / f"{side}-{name}-ubyte").write_bytes(head + array.tobytes())


def _cifar(folder: Path) -> None:
    rows = np.random.default_rng(0).integers(0, 256, (COUNT, 3072), dtype=np.uint8)
    for name, half in (("data_batch_1", slice(0, 4)), ("test_batch", slice(4, 6))):
        content = {b"data": rows[half], b"labels": _labels()[half].tolist()}
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))


def _csv(folder: Path) -> None:
    rows = ["file,label"]
    for number, pixels in enumerate(_pixels()):
        Image.fromarray(pixels).save(folder / f"{number}.png")
        rows.append(f"{number}.png,{'ab'[number % 2]}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")


def _coco(folder: Path) -> None:
    images = [{"id": number, "file_name": f"{number}.png", "width": SIZE, "height": SIZE} for number in range(COUNT)]
    for number, pixels in enumerate(_pixels()):
        Image.fromarray(pixels).save(folder / f"{number}.png")
    boxes = [{"image_id": number, "category_id": number % 2, "bbox": [1, 1, 3, 4]} for number in range(COUNT)]
    content = {"images": images, "annotations": boxes, "categories": [{"id": i, "name": f"c{i}"} for i in range(2)]}
    (folder / "instances.json").write_text(json.dumps(content))


def _tensors() -> dict[str, torch.Tensor]:
    return {"a.weight": torch.ones(4, 3), "a.bias": torch.zeros(4, dtype=torch.float16), "count": torch.tensor(3)}


def _graph(folder: Path) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    takes = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3])
    gives = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2])
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"])]
    weights = numpy_helper.from_array(np.ones((3, 2), np.float32), "w")
    model = helper.make_model(helper.make_graph(nodes, "g", [takes], [gives], [weights]))
    helper.set_model_props(model, {"secateur.classes": '["cat", "dog"]', "secateur.images": "3"})
    onnx.save(model, folder / "model.onnx")


def _read_graph(folder: Path) -> None:
    onnx_info(folder / "model.onnx")
    graph_notes(read_graph(folder / "model.onnx"), "model.onnx")


def _recipe(folder: Path) -> None:
    content = {
        "model": {"name": "vit_tiny_patch16_224", "kwargs": {"img_size": 16, "num_classes": 3}},
        "data": {"path": "digits", "held_out": 0.25},
        "budget": {"macs": 0.6},
        "score": {"method": "taylor", "samples_per_class": 3},
        "export": {"targets": ["onnxruntime:cpu"]},
    }
    (folder / "recipe.yaml").write_text(json.dumps(content))


def _json(name: str, content: dict[str, object]) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(json.dumps(content))


def _hub(folder: Path) -> None:
    save_file(_tensors(), folder / "model.safetensors")
    for name, content in (("config.json", HUB), (SHARDS, INDEX)):
        (folder / name).write_text(json.dumps(content))


def _weights(folder: Path) -> object:
    return read_checkpoint(next(folder.iterdir()))


def _data(folder: Path) -> object:
    """Every image of a source, as a command reads it."""
    spec = DataSpec(path=str(next(folder.glob("*.npz"), folder)), held_out=0.34)
    found = open_data(spec, labels="boxes" if (folder / "instances.json").exists() else "classes")
    return [images.read(i) for images in (found.calibration, found.evaluation) for i in range(len(images))]


def _bench(folder: Path) -> None:
    times = {"onnxruntime:cpu": Latency.of([1.0, 1.1, 0.9, 1.2] * 4, 1)}
    dense, pruned = (Side(name, 1000, 500, 2000, 80.0, {}, times) for name in ("dense", "pruned"))
    BenchResult(_here(), dense, pruned, {"onnxruntime:cpu": Interval(1.0, 0.9, 1.1)}).save(folder / "bench.json")


def _latency(folder: Path) -> None:
    curve = Curve("mlp_hidden", (0.5, 1.0), (0.2, 0.0), (0.1, 0.0), (0.3, 0.0))
    LatencyTable("onnxruntime:cpu", 1, "f" * 64, 2.5, (curve,), _here()).save(folder / "latency.json")


def _engine(folder: Path) -> None:
    tensor = TensorInfo("x", "float32", (-1, 3))
    EngineInfo(
        target="onnxruntime:cpu",
        runtime="onnxruntime",
        runtime_version="1.24",
        platform="linux",
        compute_capabilities=(),
        precision="fp32",
        precisions={"fp32": 1},
        inspected="session",
        tf32=False,
        inputs=(tensor,),
        outputs=(tensor,),
        profile=Profile(),
        onnx_sha256="a" * 64,
        engine_sha256="b" * 64,
        size_bytes=9,
        seconds=0.5,
        layers=(Layer("matmul", "MatMul", "fp32"),),
        folder=folder,
    ).save()


@cache
def _here() -> Environment:
    return environment(1)


STRUCTURE: dict[str, object] = {
    "schema": "secateur.structure/1",
    "model": {"name": "vit_tiny_patch16_224", "kwargs": {"img_size": 16}},
    "plan": {"fingerprint": "a", "input_shape": [3, 16, 16], "kept": {"blocks.0.mlp": [0, 1, 2]}},
    "adapted": [],
    "classes": None,
    "shapes": {"head.weight": [3, 8]},
}
PLAN: dict[str, object] = {
    "schema": "secateur.plan/1",
    "fingerprint": "a",
    "input_shape": [3, 16, 16],
    "kept": {"blocks.0.mlp": [0, 1, 2]},
    "notes": {},
}
MANIFEST: dict[str, object] = {
    "schema": "secateur.manifest/1",
    "stages": {"score": {"inputs": "a", "outputs": {"b": "c"}, "seconds": 1.5, "versions": {}, "seed": 0, "reads": {}}},
}
INDEX: dict[str, object] = {"weight_map": {"a.weight": "model.safetensors", "a.bias": "model.safetensors"}}
HUB: dict[str, object] = {"architecture": "resnet18", "num_classes": 3, "pretrained_cfg": {"input_size": [3, 64, 64]}}
KINDS: dict[str, Kind] = {
    "recipe": Kind(_recipe, lambda folder: read_recipe(folder / "recipe.yaml"), plain=True),
    "safetensors": Kind(lambda folder: save_file(_tensors(), folder / "w.safetensors"), _weights),
    "pth": Kind(lambda folder: torch.save({"state_dict": _tensors(), "arch": "resnet18"}, folder / "w.pth"), _weights),
    "npz": Kind(lambda folder: np.savez(folder / "x.npz", images=_pixels(), labels=_labels()), _data),
    "packed npz": Kind(lambda folder: np.savez_compressed(folder / "x.npz", images=_pixels(), labels=_labels()), _data),
    "idx": Kind(_idx, _data),
    "cifar10": Kind(_cifar, _data),
    "images": Kind(_images, _data, "*/*"),
    "labels.csv": Kind(_csv, _data, "*.csv"),
    "coco": Kind(_coco, _data, "*.json", plain=True),
    "class map": Kind(_json("map.json", {"cat": 0, "dog": 1}), lambda f: read_class_map(f / "map.json"), plain=True),
    "onnx": Kind(_graph, _read_graph),
    "structure.json": Kind(
        _json("structure.json", STRUCTURE), lambda f: StructureFile.read(f / "structure.json"), plain=True
    ),
    "plan.json": Kind(_json("plan.json", PLAN), lambda folder: Plan.load(folder / "plan.json"), plain=True),
    "manifest.json": Kind(_json("manifest.json", MANIFEST), read_manifest, plain=True),
    "bench.json": Kind(_bench, lambda folder: read_bench(folder / "bench.json"), plain=True),
    "latency.json": Kind(_latency, lambda folder: LatencyTable.load(folder / "latency.json"), plain=True),
    "engine.json": Kind(_engine, EngineInfo.load, plain=True),
    "hub config.json": Kind(_hub, spec_of_hub_folder, "config.json", plain=True),
    "index of weights": Kind(
        _hub, lambda folder: shards_of(folder / "model.safetensors.index.json"), "*index.json", True
    ),
}


@cache
def _whole(kind: str) -> dict[str, bytes]:
    """The files of a kind before any damage, by their paths in its folder."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        KINDS[kind].write(folder)
        return {
            str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
        }


def one(seed: int, damage: bool = True) -> End:
    """How reading the damaged file ends whose kind and damage follow from `seed`."""
    rng = np.random.default_rng(seed)
    name = list(KINDS)[seed % len(KINDS)]
    kind = KINDS[name]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for path, data in _whole(name).items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
        if damage:
            _damage(kind, folder, rng)
        return _end(name, kind, folder)


def _damage(kind: Kind, folder: Path, rng: Random) -> None:
    files = sorted(folder.glob(kind.damaged))
    path = files[int(rng.integers(len(files)))]
    if kind.plain:
        damage_json(path, rng)
    else:
        path.write_bytes(scrambled(path.read_bytes(), rng))


def _end(name: str, kind: Kind, folder: Path) -> End:
    try:
        with _bounded(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            kind.read(folder)
    except SecateurError as error:
        return End(name, "refused", str(error))
    except Exception as error:  # what this study is to find
        return End(name, "raised", f"{type(error).__name__}: {str(error)[:300]}")
    return End(name, "accepted")


@contextmanager
def _bounded() -> Iterator[None]:
    """Raises `TooLongError` in a block that takes longer than `LONGEST_SECONDS`."""

    def stop(number: int, frame: object) -> None:
        raise TooLongError(f"not read within {LONGEST_SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, LONGEST_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@click.command()
@click.option("--count", default=10000, show_default=True, help="Damaged files.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("benchmarks/results/reader_fuzz.json"))
def main(count: int, out: Path) -> None:
    """Damages so many files and writes how each kind ended; exit code 1 where one ended in no sentence."""
    started = time.perf_counter()
    ends: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
    raised: dict[str, str] = {}
    for seed in range(count):
        found = one(seed)
        ends[found.kind][found.end] += 1
        if found.end == "raised":
            raised[str(seed)] = f"{found.kind}: {found.said}"
            click.echo(f"{seed} {found}", err=True)
    content = {
        "command": f"python -m secateur_studies.reader_fuzz --count {count}",
        "environment": asdict(_here()),
        "count": count,
        "seconds": round(time.perf_counter() - started, 1),
        "ends": {kind: dict(sorted(found.items())) for kind, found in ends.items()},
        "raised": raised,
    }
    write_json(out, "reader_fuzz", content)
    sys.exit(bool(raised))


if __name__ == "__main__":
    main()
