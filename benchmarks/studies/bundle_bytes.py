"""Bundles of real models, each made twice: whether the bytes are equal, and what Pythons without secateur say of them.

`python -m secateur_studies.bundle_bytes --data DIR --python PATH` prunes DeiT-Tiny and EfficientNet-Lite0 lightly by
magnitude with 24 pictures, which is about bytes and not about accuracy, and takes the run of `secateur demo` besides.
EfficientNet-Lite0 has its preprocessing inside. Each bundle is made by two processes whose sets are in another order;
each Python verifies it and names a picture; and a bit is flipped in each of its files in turn. DIR holds `weights/`,
`imagenet-train1000/` and `imagenet-val1000/`. A PATH has numpy and ONNX Runtime, Pillow where pictures are to be
decoded, and none of what secateur needs besides.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import numpy as np

from secateur.core.files import sha256_file, write_json
from secateur.export.runner.archive import unpack
from secateur.export.runner.bundle import open_bundle
from secateur.export.runner.errors import BundleError
from secateur.export.runner.manifest import NAME

SCHEMA = "bundle_bytes"
MODELS: Mapping[str, Mapping[str, Any]] = {
    "deit_tiny_patch16_224": {},
    "tf_efficientnet_lite0": {"preprocessing": "inside"},
}
DEMO = "demo"
PARTS = ("imagenet-train1000", "imagenet-val1000")
PICTURES = 24
GOLDEN = 2
SEEDS = ("1", "2")
"""Of Python's hashes, which order sets."""
ABSENT = ("torch", "secateur", "timm", "onnx", "scipy")
ABOUT = f"""
import importlib, importlib.util, json, platform
found = {{}}
for name in ("numpy", "onnxruntime", "PIL"):
    if importlib.util.find_spec(name):
        found[name] = importlib.import_module(name).__version__
there = [name for name in {ABSENT} if importlib.util.find_spec(name)]
print(json.dumps({{"python": platform.python_version(), "packages": found, "there": there}}))
"""


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True, help="Weights and images.")
@click.option("--python", "pythons", type=click.Path(path_type=Path, exists=True), multiple=True, required=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("benchmarks/results/bundle_bytes.json"))
def main(data: Path, pythons: Sequence[Path], out: Path) -> None:
    """Makes the bundles, and writes what became of them."""
    from secateur.benchmarks.environment import environment

    rows = []
    with tempfile.TemporaryDirectory() as place:
        for part in PARTS:
            few_pictures(data / part, Path(place) / part)
        for name in (*MODELS, DEMO):
            run = Path(place) / name
            secateur(*_made(name, data, run))
            rows.append({"model": name, **row_of(run, [path.absolute() for path in pythons])})
            click.echo(json.dumps(rows[-1]), err=True)
            shutil.rmtree(run)
    command = "python -m secateur_studies.bundle_bytes --data DIR --python PATH --python PATH"
    write_json(out, SCHEMA, {"command": command, "environment": asdict(environment(1)), "rows": rows})


def row_of(run: Path, pythons: Sequence[Path]) -> dict[str, Any]:
    """What became of the bundle of a run."""
    archives = [run.with_name(f"{run.name}.{seed}.tar.zst") for seed in SEEDS]
    for archive, seed in zip(archives, SEEDS, strict=True):
        secateur("bundle", str(run), "--out", str(archive), "--images", str(GOLDEN), "--serving", seed=seed)
    folder = run.with_name(f"{run.name}.bundle")
    folder.mkdir()
    manifest = unpack(archives[0], folder)
    found, files = flipped(folder)
    return {
        "sha256": [sha256_file(archive) for archive in archives],
        "archive_bytes": archives[0].stat().st_size,
        "files": files,
        "file_bytes": sum(one.size_bytes for one in manifest.files.values()),
        "engines": [engine.name for engine in manifest.engines],
        "preprocessing": "inside" if json.loads((folder / "preprocessing.json").read_bytes())["inside"] else "outside",
        "flipped_bits_found": found,
        "pythons": [said_by(python, folder, manifest.golden.images) for python in pythons],
    }


def flipped(bundle: Path) -> tuple[int, int]:
    """In how many of a bundle's files a flipped bit was found and the file named, and how many files there are.

    The manifest, whose words no checksum covers, is not among them.
    """
    names = [path.relative_to(bundle).as_posix() for path in sorted(bundle.rglob("*")) if path.is_file()]
    names.remove(NAME)
    return sum(_is_found(bundle, name) for name in names), len(names)


def _is_found(bundle: Path, name: str) -> bool:
    flip(bundle / name)
    try:
        with open_bundle(bundle):
            return False
    except BundleError as error:
        return str(error).startswith(f"{name} was changed")
    finally:
        flip(bundle / name)


def flip(path: Path) -> None:
    """Changes one bit in the middle of a file, and changes it back when it is called again."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        (byte,) = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))


def said_by(python: Path, bundle: Path, images: Sequence[str]) -> dict[str, Any]:
    """What the runner says of a bundle when another Python runs it: the checks by outcome, and the first class.

    That is of the first golden picture, or of its input as an array where no Pillow is there.
    """
    about = json.loads(_printed(python, bundle, "-I", "-c", ABOUT))
    if about["there"]:
        raise click.UsageError(f"{python} has {', '.join(about['there'])}: give one with numpy and ONNX Runtime alone")
    verdict = json.loads(_printed(python, bundle, "-B", "-m", "bundle_runner", "verify", "--no-latency", "--json"))
    picture = images[0] if "PIL" in about["packages"] else "golden/inputs.0.npy"
    answer = json.loads(_printed(python, bundle, "-B", "-m", "bundle_runner", "infer", picture, "--json"))
    checks = {name: Counter[str]() for name in dict.fromkeys(one["name"] for one in verdict["checks"])}
    for one in verdict["checks"]:
        checks[one["name"]][one["outcome"]] += 1
    return {
        "python": about["python"],
        "packages": about["packages"],
        "outcome": verdict["outcome"],
        "checks": {name: dict(found) for name, found in checks.items()},
        "picture": picture,
        "class": answer["top"][0][0]["class"],
        "golden_class": _golden_class(bundle),
    }


def _golden_class(bundle: Path) -> str:
    """What the golden outputs of the first engine's precision say of the first picture."""
    with open_bundle(bundle) as opened:
        graph = opened.manifest.graph(opened.manifest.engines[0].precision)
        (name,) = graph.golden.values()
        logits = np.load(opened.path(name), allow_pickle=False)
        return str(json.loads(opened.read("labels.json"))["classes"][int(logits[0].argmax())])


def few_pictures(source: Path, folder: Path) -> None:
    """Copies as many pictures as the study takes, of classes from the first to the last, with their labels."""
    with (source / "labels.csv").open(newline="") as file:
        rows = {int(row["label"]): row["file"] for row in csv.DictReader(file)}
    (folder / "images").mkdir(parents=True)
    lines = ["file,label"]
    labels = sorted(rows)
    for label in (labels[place] for place in np.linspace(0, len(labels) - 1, PICTURES).astype(int)):
        shutil.copyfile(source / "images" / rows[label], folder / "images" / rows[label])
        lines.append(f"{rows[label]},{label}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")


def _made(name: str, data: Path, run: Path) -> list[str]:
    """The words that make a run with `secateur`."""
    if name == DEMO:
        return ["demo", "--out", str(run), "--set", "bench.seconds=0.5"]
    recipe = {
        "model": {"name": name, "weights": str(data / "weights" / f"{name}.safetensors")},
        "data": {key: str(run.with_name(part)) for key, part in zip(("calibration", "evaluation"), PARTS, strict=True)},
        "budget": {"macs": 0.9},
        "score": {"method": "magnitude"},
        "recover": {"compensate": False},
        "export": {"precisions": ["fp32", "fp16"], "targets": ["onnxruntime:cpu"], **MODELS[name]},
        "bench": {"targets": ["onnxruntime:cpu"], "seconds": 0.5},
    }
    path = run.with_name(f"{name}.yaml")
    path.write_text(json.dumps(recipe))  # which is YAML
    return ["run", str(path), "--out", str(run)]


def secateur(*words: str, seed: str = "0") -> None:
    """Runs a command of secateur in a process of its own."""
    env = {**os.environ, "PYTHONHASHSEED": seed}
    subprocess.run([sys.executable, "-P", "-m", "secateur", *words], env=env, check=True, stdout=subprocess.DEVNULL)


def _printed(python: Path, folder: Path, *words: str) -> str:
    """What a command of another Python prints in a folder; its own errors are shown."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        [str(python), *words], cwd=folder, env=env, stdout=subprocess.PIPE, text=True, check=True
    ).stdout


def table_of(rows: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The table of the results."""
    head = ("bundle", "size", "made twice", "files in which a flipped bit was found", "verified by")
    lines: list[tuple[str, ...]] = []
    for row in rows:
        passed = [one["python"] for one in row["pythons"] if one["outcome"] == "pass"]
        equal = "equal bytes" if len(set(row["sha256"])) == 1 else "other bytes"
        found = f"{row['flipped_bits_found']} of {row['files']}"
        by = ", ".join(f"Python {version}" for version in dict.fromkeys(passed)) or "none"
        lines.append((f"`{row['model']}`", f"{row['archive_bytes'] / 1e6:.1f} MB", equal, found, by))
    return head, lines


if __name__ == "__main__":
    main()
