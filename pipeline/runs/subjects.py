"""What a user names on the command line, as something that can be measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from secateur.benchmarks.runners import Subject
from secateur.core.errors import BenchError
from secateur.core.input_spec import InputSpec
from secateur.export.engine_info import ENGINE_FILE, INFO_FILE, EngineInfo
from secateur.export.targets import parse_target, parse_typed_target
from secateur.pipeline.runs.run_folder import is_run

HEAD = 64
"""The bytes of an engine that are looked at: its runtime's mark is among them."""


def open_subject(word: str, targets: Sequence[str] = ()) -> Subject:
    """The model that `word` names: a run directory (its pruned model), a saved model's folder, an .onnx file, an
    .engine file or its folder, or else a timm model with random weights.

    An engine without an engine.json beside it is taken to be for those of `targets` that need an engine. Raises
    `BenchError` for a path that does not exist or holds none of these, `ModelError` for an unknown name.
    """
    path = Path(word)
    if is_run(path):
        return run_subjects(path)[1]
    if path.is_dir():
        if (path / INFO_FILE).is_file():
            return _engine(path / ENGINE_FILE, targets)
        return _saved(path)
    if path.suffix in (".onnx", ".engine"):
        if not path.is_file():
            raise BenchError(f"there is no file {word}: give a timm name, a run directory, an .onnx or an .engine file")
        return Subject(word, onnx=path) if path.suffix == ".onnx" else _engine(path, targets)
    if path.is_file() or len(path.parts) > 1:
        kind = "is no model that can be measured" if path.is_file() else "does not exist"
        raise BenchError(f"{word} {kind}: give a timm name, a run directory, an .onnx or an .engine file")
    from secateur.pipeline.models.create import create_model
    from secateur.pipeline.models.inputs import input_shape

    model = create_model(word)
    return Subject(word, module=model, inputs=InputSpec.shaped(input_shape(model)))


def run_subjects(folder: Path, device: str = "") -> tuple[Subject, Subject]:
    """The dense and the pruned model of a run, with the ONNX files and engines that are there.

    For a `device` over ssh the engines are those that were built on it.
    """
    from secateur.pipeline.models.create import create_model, factory_of
    from secateur.pipeline.models.inputs import input_shape
    from secateur.pipeline.runs.bench_stage import forms_of
    from secateur.pipeline.runs.runner import open_run
    from secateur.pipeline.structure.classes import cut_classifier
    from secateur.pipeline.structure.history import classes_of
    from secateur.pipeline.structure.storage import load

    spec = open_run(folder).recipe.model
    pruned = load(folder / "model", factory_of(spec))
    dense = create_model(spec)
    if classes := classes_of(pruned):
        dense = cut_classifier(dense, classes)
    shape = InputSpec.shaped(input_shape(dense))
    found = [
        replace(forms_of(folder, side), module=model, inputs=shape)
        for side, model in (("dense", dense), ("pruned", pruned))
    ]
    if device:
        from secateur.pipeline.runs.remote_build import engines_on

        there = [engines_on(folder, device, side) for side in ("dense", "pruned")]
        found = [
            replace(subject, engines={goal: info.path for goal, info in engines.items()}, absent=absent)
            for subject, (engines, absent) in zip(found, there, strict=True)
        ]
    return found[0], found[1]


def common_targets(subjects: Sequence[Subject]) -> list[str]:
    """The targets that all subjects can run on without a choice: ONNX Runtime and PyTorch on the CPU, and engines.

    ONNX Runtime is among them where every subject has an ONNX file, or where nothing else is and the others can be
    exported. Raises `BenchError` when there is none.
    """
    usual = [parse_target(name) for name in ("onnxruntime:cpu", "torch:cpu")]
    found = [str(target) for target in usual if all(subject.form(target) for subject in subjects)]
    engines = [set(subject.engines) for subject in subjects]
    found += sorted(set.intersection(*engines))
    if not found and all(subject.onnx or subject.module for subject in subjects):
        found = ["onnxruntime:cpu"]
    if not found:
        raise BenchError(
            f"{' and '.join(subject.name for subject in subjects)} have no target in common: compare files of one kind"
        )
    return found


def with_onnx(subject: Subject, targets: Sequence[str], folder: Path) -> Subject:
    """The subject with the ONNX files that `targets` run: its own, or its module exported into `folder`."""
    for goal in map(parse_typed_target, targets):
        if goal.target.runtime != "onnxruntime" or subject.module is None or subject.form(goal) is not None:
            continue
        from secateur.export.to_onnx import export_onnx

        path = folder / f"{len(list(folder.iterdir()))}.onnx"
        example = subject.inputs.draw() if subject.inputs else None
        export_onnx(subject.module, path, example, precision=goal.precision)
        if goal.precision == "fp32":
            subject = replace(subject, onnx=path)
        else:
            subject = replace(subject, typed_onnx={**subject.typed_onnx, goal.precision: path})
    return subject


def _saved(folder: Path) -> Subject:
    from secateur.pipeline.models.inputs import input_shape
    from secateur.pipeline.runs.bench_stage import engines_of
    from secateur.pipeline.structure.storage import load

    model = load(folder)
    graph = folder / "model.onnx"
    engines = engines_of(path.parent for path in sorted(folder.glob(f"engines/*/{INFO_FILE}")))
    spec = InputSpec.shaped(input_shape(model))
    return Subject(str(folder), model, graph if graph.is_file() else None, engines, spec)


def _engine(path: Path, targets: Sequence[str]) -> Subject:
    if path.name == ENGINE_FILE and (path.parent / INFO_FILE).is_file():
        info = EngineInfo.load(path.parent)
        info.check_file()
        return Subject(str(path), engines={info.target: path})
    with path.open("rb") as file:
        if not file.read(HEAD).strip(b"\0"):
            raise BenchError(
                f"{path} begins with zeros or is empty, so that it holds no engine: build or copy it again"
            )
    named = [name for name in targets if parse_target(name).needs_build]
    if not named:
        given = f", and {' and '.join(targets)} open{'s' * (len(targets) == 1)} no engine files" if targets else ""
        raise BenchError(
            f"{path} has no {INFO_FILE} beside it{given}: say what it was built for, such as --target tensorrt"
        )
    return Subject(str(path), engines=dict.fromkeys(named, path))
