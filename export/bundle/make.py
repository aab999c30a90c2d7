"""A bundle from what goes into it: its files, its manifest, and both as a folder or an archive."""

from __future__ import annotations

import hashlib
import io
import json
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.core.errors import ExportError
from secateur.core.files import sha256_file
from secateur.export import runner
from secateur.export.bundle.archive import SUFFIXES, write_archive
from secateur.export.bundle.contents import Contents, EngineOf, GraphOf, Source
from secateur.export.bundle.golden import golden_outputs
from secateur.export.bundle.readme import readme
from secateur.export.engine_info import INFO_FILE
from secateur.export.onnx_info import OnnxInfo
from secateur.export.precision import COSINES, TOLERANCES, WITHOUT_KERNELS
from secateur.export.runner import evidence, labels, preprocess
from secateur.export.runner.archive import is_bundle
from secateur.export.runner.bundle import listed
from secateur.export.runner.errors import BundleError
from secateur.export.runner.fields import read_object
from secateur.export.runner.manifest import (
    EVIDENCE,
    LABELS,
    NAME,
    PREPROCESSING,
    SCHEMA,
    Built,
    FileInfo,
    Golden,
    Graph,
    Manifest,
    parse_manifest,
)
from secateur.export.runner.npy import MOST_BYTES
from secateur.export.targets import TypedTarget, parse_target

RUNNER = "bundle_runner"
OTHERS = (".zip", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".zst", ".tar.zstd")
"""Endings that nobody gives a folder."""


def write_bundle(contents: Contents, out: Path) -> Manifest:
    """Writes the bundle as the folder `out`, or as an archive where it ends in .tar or .tar.zst; returns its manifest.

    The same contents give the same bytes. An earlier bundle in the same place is replaced; raises `ExportError` for a
    folder that holds anything else, for a file that is no bundle, and for contents that no bundle can hold.
    """
    packed = out.name.endswith(SUFFIXES)
    if not packed and out.name.lower().endswith(OTHERS):
        raise ExportError(f"{out} is named as a kind of archive that no bundle has: end it in {' or '.join(SUFFIXES)}")
    if out.is_dir():
        if packed or (other := _other_than_bundle(out)):
            what = "" if packed else f" ({other})"
            raise ExportError(f"{out} is a folder with other things in it{what}: choose another --out")
    elif out.is_file() and out.stat().st_size and not is_bundle(out):
        raise ExportError(f"{out} is there and is no bundle: choose another --out, or remove it")
    files, manifest = files_of(contents)
    if packed:
        write_archive(files, out)
    else:
        _write_folder(files, out)
    return manifest


def _other_than_bundle(folder: Path) -> str:
    """What is in a folder and would be lost if a bundle took its place; empty for one that holds a bundle or nothing.

    An earlier bundle may be damaged, and Python may have left its cache in it.
    """
    there = {path.name for path in folder.iterdir()}  # a run's manifest.json is this name to some file systems
    if not there:
        return ""
    try:
        told = read_object((folder / NAME).read_bytes(), NAME, SCHEMA).named("files", lambda value, where: None)
        found, _ = listed(folder)
    except BundleError as error:
        return str(error)
    except OSError:
        return min(there)
    return min(found - {NAME, *told}, default="")


def files_of(contents: Contents) -> tuple[dict[str, Source], Manifest]:
    """All files of a bundle by name, the manifest first, then sorted; and what the manifest says."""
    files: dict[str, Source] = {}
    graphs = tuple(_add_graph(files, one, contents.inputs) for one in contents.graphs)
    engines = _add_engines(files, contents, graphs)
    golden = _add_golden(files, contents)
    files[LABELS] = _json(labels.SCHEMA, {"classes": list(contents.classes), "activation": contents.activation})
    files[PREPROCESSING] = _json(preprocess.SCHEMA, asdict(contents.preprocessing))
    files[EVIDENCE] = _json(evidence.SCHEMA, asdict(contents.evidence))
    files["environment.json"] = _json("secateur.environment/1", contents.environment)
    files.update({f"licences/{name}": text.encode() for name, text in contents.licences.items()})
    files.update(contents.beside)
    files.update(runner_files())
    files["README.md"] = readme(contents.model, engines).encode()
    ordered = dict(sorted(files.items()))
    told = {name: _file_info(source) for name, source in ordered.items()}
    manifest = Manifest(contents.model, len(contents.classes), told, graphs, engines, golden)
    data = _json(SCHEMA, asdict(manifest))
    try:
        parse_manifest(data)
    except BundleError as error:
        raise ExportError(f"this cannot go into a bundle: {error}") from error
    return {NAME: data, **ordered}, manifest


def runner_files() -> dict[str, bytes]:
    """The files of the runner as they lie in a bundle."""
    (place,) = runner.__path__
    found = sorted(Path(place).rglob("*.py"))
    return {f"{RUNNER}/{path.relative_to(place).as_posix()}": path.read_bytes() for path in found}


def _add_graph(files: dict[str, Source], graph: GraphOf, inputs: Mapping[str, NDArray[Any]]) -> Graph:
    info = graph.pruned
    outputs = golden_outputs(info, inputs)
    golden = {}
    for index, (name, array) in enumerate(outputs.items()):
        golden[name] = f"golden/outputs.{info.precision}.{index}.npy"
        files[golden[name]] = _npy(array)
    return Graph(
        precision=info.precision,
        path=_add_onnx(files, info, "onnx"),
        inputs=info.inputs,
        outputs=info.outputs,
        golden=golden,
        tolerance=TOLERANCES[info.precision],
        cosine=COSINES[info.precision],
        dense=_add_onnx(files, graph.dense, "dense") if graph.dense else "",
    )


def _add_onnx(files: dict[str, Source], info: OnnxInfo, folder: str) -> str:
    """Adds a graph with the file of its weights, whose name it holds itself; returns the graph's name."""
    name = f"{folder}/model.{info.precision}.onnx"
    files[name] = info.path
    if info.external:
        files[f"{folder}/{info.external}"] = info.path.parent / info.external
    return name


def _add_engines(files: dict[str, Source], contents: Contents, graphs: tuple[Graph, ...]) -> tuple[Built, ...]:
    """Adds the engines, of ONNX Runtime none but the graphs; one on the CPU goes without saying."""
    found: dict[str, Built] = {}
    for engine in contents.engines:
        built = _add_engine(files, engine, {graph.precision: graph for graph in graphs})
        found[built.name] = built
    version = contents.evidence.machine.versions.get("onnxruntime", "")
    for graph in graphs:
        built = Built("onnxruntime:cpu", graph.precision, graph.path, "onnxruntime", version)
        if graph.precision not in WITHOUT_KERNELS and version:
            found.setdefault(built.name, built)
    return tuple(sorted(found.values(), key=lambda one: (one.runtime == "onnxruntime", one.device, one.key)))


def _add_engine(files: dict[str, Source], engine: EngineOf, graphs: Mapping[str, Graph]) -> Built:
    info, goal = engine.pruned, parse_target(engine.pruned.target)
    if info.precision not in graphs:
        raise ExportError(f"{info.path} is in {info.precision}, of which there is no graph: export and build again")
    for one in (info, *([engine.dense] if engine.dense else [])):
        if one.not_portable:
            raise ExportError(f"{one.path} cannot go into a bundle: {one.not_portable}")
    common = (info.target, info.precision)
    if not goal.needs_build:
        return Built(*common, graphs[info.precision].path, info.runtime, info.runtime_version)
    folder = "/".join(filter(None, ("engines", engine.device, TypedTarget(goal, info.precision).folder)))
    files[f"{folder}/model.engine"], files[f"{folder}/{INFO_FILE}"] = info.path, info.folder / INFO_FILE
    dense = f"dense/{folder}/model.engine" if engine.dense else ""
    if engine.dense:
        files[dense] = engine.dense.path
    return Built(
        *common,
        f"{folder}/model.engine",
        info.runtime,
        info.runtime_version,
        capabilities=info.compute_capabilities,
        platform=info.platform,
        smallest=info.profile.smallest,
        largest=info.profile.largest,
        hardware=info.options.hardware,
        versions=info.options.versions,
        dense=dense,
        device=engine.device,
    )


def _add_golden(files: dict[str, Source], contents: Contents) -> Golden:
    images = []
    for index, picture in enumerate(contents.pictures):
        images.append(f"golden/image.{index}{picture.suffix}")
        files[images[-1]] = picture.content
    inputs = {}
    for index, (name, array) in enumerate(contents.inputs.items()):
        inputs[name] = f"golden/inputs.{index}.npy"
        files[inputs[name]] = _npy(array)
    return Golden(tuple(images), inputs)


def _npy(array: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, np.ascontiguousarray(array), allow_pickle=False)
    content = file.getvalue()
    if len(content) > MOST_BYTES:
        raise ExportError(
            f"{len(array)} golden images have {len(content)} bytes as {list(array.shape)}, but a device reads at most "
            f"{MOST_BYTES}: take fewer"
        )
    return content


def _json(schema: str, content: Mapping[str, Any]) -> bytes:
    return (json.dumps({"schema": schema, **content}, indent=1, allow_nan=False) + "\n").encode()


def _file_info(source: Source) -> FileInfo:
    if isinstance(source, bytes):
        return FileInfo(hashlib.sha256(source).hexdigest(), len(source))
    return FileInfo(sha256_file(source), source.stat().st_size)


def _write_folder(files: Mapping[str, Source], out: Path) -> None:
    """Writes the files into a folder beside `out`, which then takes its place; until then what is there stays."""
    out = out.resolve()  # where it is a link, what it leads to is replaced
    part, old = (out.with_name(f".{out.name}.{secrets.token_hex(8)}.{word}") for word in ("part", "old"))
    try:
        for name, source in files.items():
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            if isinstance(source, bytes):
                (part / name).write_bytes(source)
            else:
                shutil.copyfile(source, part / name)
        if out.exists():
            out.replace(old)
        try:
            part.replace(out)
        except OSError:
            if old.exists():
                old.replace(out)
            raise
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise ExportError(f"cannot write {out}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
