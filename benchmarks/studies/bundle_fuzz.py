"""Thousands of damaged bundles through `secateur verify`: a sentence every time, and nothing written outside.

`python -m secateur_studies.bundle_fuzz --count 10000` makes the bundle of a small run and changes it: bytes of the
archive, compressed or not; members and links; the manifest; and, with checksums that are right again, the arrays, the
pictures, the JSON files and the graphs. The result says for each kind how often the bundle was refused, failed a check
or was verified all the same, and the memory that the process took besides.
"""

from __future__ import annotations

import hashlib
import json
import resource
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from secateur.core.files import write_json
from secateur.export.bundle.archive import write_archive
from secateur.export.bundle.make import RUNNER
from secateur.export.runner.bundle import open_bundle
from secateur.export.runner.errors import RunnerError
from secateur.export.runner.infer import infer
from secateur.export.runner.manifest import NAME
from secateur.export.runner.verify import verify

Random = np.random.Generator
Mutate = Callable[[Path, Random], Path]
"""Damages the copy of a bundle in a folder, and returns what to verify: the folder, or an archive of it beside."""
ODD: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1e308,
    10**30,
    "",
    "../../x",
    "/etc/passwd",
    "x" * 300,
    [],
    {},
    [[[]]],
    "\0",
    "é",
)
WORDS = b'\x00\xff\x7f0Aa/.\n{}[]"\\'


@dataclass(frozen=True)
class End:
    """How a case ended: `refused`, `fail`, `inconclusive`, `pass`, or `raised` for what is no sentence of ours."""

    kind: str
    end: str
    said: str


def scrambled(data: bytes, rng: Random) -> bytes:
    """The bytes with one to four changes: bits flipped, bytes replaced, cut out, doubled, or the end cut off."""
    found = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        if not found:
            break
        start = int(rng.integers(len(found)))
        length = int(rng.integers(1, 40))
        way = int(rng.integers(6))
        if way == 0:
            found[start] ^= 1 << int(rng.integers(8))
        elif way == 1:
            found[start] = WORDS[int(rng.integers(len(WORDS)))]
        elif way == 2:
            del found[start : start + length]
        elif way == 3:
            found[start:start] = found[start : start + length]
        elif way == 4:
            found[start : start + length] = rng.bytes(length)
        else:
            del found[start:]
    return bytes(found)


def archive(bundle: Path, rng: Random) -> Path:
    """Bytes of the archive, compressed or not."""
    names = [NAME, *sorted(path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file())]
    path = bundle.with_name("x.tar.zst" if rng.integers(2) else "x.tar")
    write_archive({name: bundle / name for name in dict.fromkeys(names)}, path)
    path.write_bytes(scrambled(path.read_bytes(), rng))
    return path


def members(bundle: Path, rng: Random) -> Path:
    """One file more, one fewer, changed, or a link in place of one."""
    paths = sorted(path for path in bundle.rglob("*") if path.is_file())
    path = paths[int(rng.integers(len(paths)))]
    way = int(rng.integers(5))
    if way == 0:
        path.unlink()
    elif way == 1:
        path.with_name(f"{path.name}.more").write_bytes(rng.bytes(int(rng.integers(9))))
    elif way == 2:
        path.unlink()
        path.symlink_to(("/etc/passwd", "..", paths[0])[int(rng.integers(3))])
    elif way == 3:
        (path.parent / "folder").mkdir()
    else:
        path.write_bytes(scrambled(path.read_bytes(), rng))
    return bundle


def manifest(bundle: Path, rng: Random) -> Path:
    """The manifest: odd values anywhere in it, keys gone, or its bytes."""
    damage_json(bundle / NAME, rng)
    return bundle


def told_right(suffixes: tuple[str, ...]) -> Mutate:
    """A file with one of these endings is changed, and its new size and SHA-256 are in the manifest."""

    def mutate(bundle: Path, rng: Random) -> Path:
        content = json.loads((bundle / NAME).read_bytes())
        names = [name for name in sorted(content["files"]) if name.endswith(suffixes)]
        name = names[int(rng.integers(len(names)))]
        if name.endswith(".json"):
            damage_json(bundle / name, rng)
        else:
            (bundle / name).write_bytes(scrambled((bundle / name).read_bytes(), rng))
        data = (bundle / name).read_bytes()
        content["files"][name] = {"sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}
        (bundle / NAME).write_text(json.dumps(content))
        return bundle

    return mutate


KINDS: dict[str, Mutate] = {
    "archive": archive,
    "members": members,
    "manifest": manifest,
    "arrays": told_right((".npy",)),
    "pictures": told_right((".png",)),
    "json": told_right(("labels.json", "preprocessing.json", "evidence.json")),
    "graphs": told_right((".onnx",)),
}


def lessened(bundle: Path) -> None:
    """Leaves one file of the runner in a bundle: all of them are read alike, and fewer are damaged faster."""
    content = json.loads((bundle / NAME).read_bytes())
    for name in [name for name in content["files"] if name.startswith(f"{RUNNER}/")]:
        if name != f"{RUNNER}/__init__.py":
            del content["files"][name]
            (bundle / name).unlink()
    shutil.rmtree(bundle / RUNNER / "sensors")
    (bundle / NAME).write_text(json.dumps(content))


def one(bundle: Path, seed: int) -> End:
    """How the damaged copy of a bundle ends whose kind and damage follow from `seed`.

    Raises `AssertionError` where anything but the damaged bundle is left in the folder that it lay in.
    """
    rng = np.random.default_rng(seed)
    kind = list(KINDS)[seed % len(KINDS)]
    with tempfile.TemporaryDirectory() as outer:
        place = Path(shutil.copytree(bundle, Path(outer) / "bundle"))
        path = KINDS[kind](place, rng)
        before, above = sorted(Path(outer).rglob("*")), _unpacked()
        found = _end(kind, path)
        assert sorted(Path(outer).rglob("*")) == before and _unpacked() == above, f"{kind} {seed} left files behind"
    return found


def _end(kind: str, path: Path) -> End:
    try:
        verdict = verify(path, latency=False, threads=1)
        if kind == "pictures":
            with open_bundle(path) as opened:
                for name in opened.manifest.golden.images:
                    infer(opened, opened.path(name), threads=1)
    except RunnerError as error:
        return End(kind, "refused", str(error))
    except Exception as error:  # what this study is to find
        return End(kind, "raised", f"{type(error).__name__}: {error}")
    return End(kind, verdict.outcome, verdict.sentence)


def _unpacked() -> list[str]:
    """What archives were unpacked into and is still there."""
    return sorted(path.name for path in Path(tempfile.gettempdir()).glob("bundle-*"))


def damage_json(path: Path, rng: Random) -> None:
    """Puts odd values into a JSON file, takes keys out of it, or damages its bytes."""
    if rng.integers(4) == 0:
        path.write_bytes(scrambled(path.read_bytes(), rng))
        return
    content = json.loads(path.read_bytes())
    holder: Any = content
    key: Any = "schema"
    for _ in range(12):
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        if not keys:
            break
        key = keys[int(rng.integers(len(keys)))]
        inner = holder[key]
        if not isinstance(inner, (dict, list)) or not inner or rng.integers(3) == 0:
            break
        holder = inner
    if key not in holder and isinstance(holder, dict):
        holder[key] = None
    if rng.integers(3) == 0 and isinstance(holder, dict):
        holder[str(rng.integers(99))] = holder.pop(key)
    elif holder:
        holder[key] = ODD[int(rng.integers(len(ODD)))]
    path.write_text(json.dumps(content))


RECIPE: dict[str, Any] = {
    "model": {
        "name": "vit_tiny_patch16_224",
        "kwargs": {
            "img_size": 16,
            "patch_size": 8,
            "in_chans": 1,
            "num_classes": 10,
            "embed_dim": 24,
            "depth": 1,
            "num_heads": 3,
        },
    },
    "data": {"path": "digits"},
    "budget": {"macs": 0.7},
    "score": {"method": "magnitude"},
    "recover": {"compensate": False},
    "export": {"targets": ["onnxruntime:cpu"]},
    "bench": {"targets": ["onnxruntime:cpu"], "seconds": 0.05},
}


@click.command()
@click.option("--count", default=10000, show_default=True, help="Damaged bundles.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("benchmarks/results/bundle_fuzz.json"))
def main(count: int, out: Path) -> None:
    """Damages the bundle of a small run so many times and writes how each kind ended."""
    from secateur.benchmarks.environment import environment
    from secateur.pipeline.runs.bundle_run import bundle_run
    from secateur.pipeline.runs.recipe import make_recipe
    from secateur.pipeline.runs.runner import open_run, run_stages

    with tempfile.TemporaryDirectory() as folder:
        run = open_run(Path(folder) / "run", make_recipe(RECIPE, "the study"))
        run_stages(run)
        bundle = Path(folder) / "bundle"
        bundle_run(run.folder, bundle, images=2, dense=False)
        lessened(bundle)
        assert verify(bundle, latency=False).exit_code == 0
        ends: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
        said: dict[str, str] = {}
        started, before = time.perf_counter(), _peak_mib()
        for seed in range(count):
            found = one(bundle, seed)
            ends[found.kind][found.end] += 1
            if found.end == "raised":
                said[str(seed)] = f"{found.kind}: {found.said}"
                click.echo(f"{seed} {found}", err=True)
            if seed % 500 == 0:
                click.echo(f"{seed} of {count} in {time.perf_counter() - started:.0f} s", err=True)
        content = {
            "command": f"python -m secateur_studies.bundle_fuzz --count {count}",
            "environment": asdict(environment(1)),
            "count": count,
            "seconds": round(time.perf_counter() - started, 1),
            "added_peak_mib": round(_peak_mib() - before, 1),
            "ends": {kind: dict(sorted(found.items())) for kind, found in ends.items()},
            "raised": said,
        }
    write_json(out, "bundle_fuzz", content)


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
