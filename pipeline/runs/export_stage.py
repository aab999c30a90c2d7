"""The export and build stages: both models as ONNX, proven against PyTorch, and the engines that the recipe names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import nn

from secateur.core.errors import EngineError, MissingPackageError
from secateur.core.files import write_text
from secateur.core.say import Say
from secateur.export.artefacts import BuildFile, ExportedGraph, ExportFile
from secateur.export.engine_info import ENGINE_FILE, INFO_FILE, EngineInfo, Profile
from secateur.export.engines import build_engine
from secateur.export.inside import WAYS, put_inside
from secateur.export.notes import deployment_notes
from secateur.export.onnx_info import OnnxInfo, onnx_info
from secateur.export.parity import check_parity
from secateur.export.precision import EIGHT_BITS
from secateur.export.preprocessing import Preprocessing
from secateur.export.quantize.limit import Limit
from secateur.export.quantize.measure import OtherCalibrationError
from secateur.export.quantize.observe import Calibration, Quarter
from secateur.export.quantize.quantize import quantize_onnx
from secateur.export.quantize.spec import Quantization
from secateur.export.serving.trtexec import PAGE, trtexec_page
from secateur.export.targets import TypedTarget, parse_target, typed_targets
from secateur.export.to_onnx import export_onnx
from secateur.pipeline.analysis.graph_judge import GraphJudge
from secateur.pipeline.analysis.product_losses import wide_products
from secateur.pipeline.models.inputs import input_shape
from secateur.pipeline.runs.declarations import CalibrationImages, Declaration, Output, recipe_parts
from secateur.pipeline.runs.inputs import Inputs
from secateur.pipeline.runs.plan_stage import chooses_bits
from secateur.pipeline.runs.recipe import Recipe

ONNX_BATCHES = (1, 2, 7)
SENSITIVE = 32
"""How many of the images that calibrate tell what each product alone costs."""
KEPT = ("calibration.*.safetensors", "trials.*.json")
"""What calibration and the search for mixed precision leave in the run to go on with."""


def export_run(inputs: Inputs, say: Say) -> list[str]:
    """Writes the dense and the small model as ONNX in every precision, and `export.json` with the measured parity.

    Graphs in 8 bits are made from the fp32 graph and the calibration images, and compared on those of them that
    calibrated nothing; a limit on what they lose is measured on these and on others of the calibration split. The
    images also say which nodes fp16 cannot hold.
    """
    written: list[str] = []
    described: dict[str, ExportedGraph] = {}
    small, spec = inputs.model("model"), inputs.recipe.export
    shape = input_shape(inputs.dense)
    facts = Preprocessing(**asdict(replace(inputs.transform, shape=shape)))
    notes = deployment_notes(facts, inputs.classes)
    images = Calibration(
        inputs.calibration(spec.quantize.samples_per_class, spec.quantize.batch_size) if spec.calibrates else ()
    )
    for side, model in (("pruned", small), ("dense", inputs.dense)):
        with TemporaryDirectory() as folder:
            made = Path(folder) if spec.preprocessing == "inside" else inputs.output()
            fp32 = made / onnx_name(side, "fp32")
            if spec.quantizes and "fp32" not in spec.precisions:  # it is made for the graphs in 8 bits alone
                fp32 = export_onnx(model, Path(folder) / fp32.name, input_shape=shape, metadata=notes).path
            for precision in sorted(spec.precisions, key=lambda word: word in EIGHT_BITS):
                name = onnx_name(side, precision)
                say(f"writing {name}")
                if precision in EIGHT_BITS:
                    graph = _quantize(inputs, side, model, fp32, made / name, precision, images, say)
                else:
                    graph = _export(model, made / name, shape, precision, images, notes, spec.parity.of(precision), say)
                if spec.preprocessing == "inside":
                    graph = _inside(graph, made / name, inputs.output(name), facts, say)
                described[name] = graph
                written.append(name)
                if external := described[name].info.external:
                    written.append(external)
    ExportFile(described).save(inputs.output())
    return [*written, ExportFile.NAME]


def reads_besides(recipe: Recipe) -> Sequence[Declaration]:
    """What calibrated graphs depend on besides, and what a plan that chooses bits says."""
    if not recipe.export.calibrates:
        return ()
    planned = (Output("plan"),) if chooses_bits(recipe) else ()
    return (CalibrationImages(), *recipe_parts("seed", "task", "plan.allocate"), *planned)


def build_run(inputs: Inputs, say: Say) -> list[str]:
    """Builds the small model's engine for every target of the recipe; `build.json` says what was left out and why.

    For a target that latency is measured on with an engine of its own, the dense model's engine is built too. The
    engines take every batch size that latency is asked for. `trtexec.md` says how to build and time all graphs with
    NVIDIA's tool alone.
    """
    written: list[str] = []
    skipped: dict[str, str] = {}
    recipe, folder = inputs.recipe, inputs.output()
    precisions, profile = recipe.export.precisions, Profile.covering(recipe.bench.batch)
    for side, goal in wanted_engines(recipe):
        if goal.target.runtime == "torch":
            skipped[str(goal)] = "PyTorch runs the model itself: there is no engine to build"
            continue
        say(f"building the {side} engine for {goal.target}, {goal.precision}")
        graph = inputs.path(onnx_name(side, goal.precision))
        place = engines_folder(folder, side)
        try:
            info = build_engine(graph, goal.target, place, profile=profile, options=recipe.export.engines)
        except (MissingPackageError, EngineError) as error:
            skipped[str(goal)] = str(error)
            say(str(error))
            continue
        written += [str((info.folder / file).relative_to(folder)) for file in (ENGINE_FILE, INFO_FILE)]
    BuildFile(tuple(written), skipped).save(folder)
    graphs = [inputs.path(onnx_name(side, word)) for side in ("dense", "pruned") for word in precisions]
    write_text(inputs.output(PAGE), trtexec_page(graphs, profile))
    return [*written, BuildFile.NAME, PAGE]


def wanted_engines(recipe: Recipe) -> list[tuple[str, TypedTarget]]:
    """The engines that a recipe asks for: whose (`pruned` or `dense`), and for which target in which precision."""
    precisions = recipe.export.precisions
    compared = [name for name in recipe.bench.targets if parse_target(name).needs_build]
    return [
        *(("pruned", goal) for goal in typed_targets([*recipe.export.targets, *compared], precisions)),
        *(("dense", goal) for goal in typed_targets(compared, precisions)),
    ]


def onnx_name(side: str, precision: str) -> str:
    """The file of a side (`dense` or `pruned`) in a precision: `model.onnx`, `model.dense.fp16.onnx`."""
    middle = ("" if side == "pruned" else ".dense") + ("" if precision == "fp32" else f".{precision}")
    return f"model{middle}.onnx"


def graphs_of(run_dir: Path, side: str) -> dict[str, OnnxInfo]:
    """The graphs of a side by precision, with their whole paths."""
    listed = ExportFile.load(run_dir).files
    infos = (graph.info for name, graph in listed.items() if name == onnx_name(side, graph.info.precision))
    return {info.precision: replace(info, path=run_dir / info.path) for info in infos}


def engines_of_side(run_dir: Path, side: str) -> list[EngineInfo]:
    """What is known of the engines of a side."""
    places, folder = BuildFile.load(run_dir).engines(run_dir), engines_folder(run_dir, side)
    return [EngineInfo.load(place) for place in places if place.parent == folder]


def engines_folder(run_dir: Path, side: str) -> Path:
    """Where the engines of a side are: `engines/<target>/`, and `engines/dense/<target>/` to compare with."""
    return run_dir / "engines" if side == "pruned" else run_dir / "engines" / "dense"


def _export(
    model: nn.Module,
    path: Path,
    shape: tuple[int, ...],
    precision: str,
    images: Calibration,
    notes: Mapping[str, str],
    tolerance: float,
    say: Say,
) -> ExportedGraph:
    write = partial(export_onnx, model, path, input_shape=shape, precision=precision, metadata=notes)
    try:
        info = write(calibration=images)
        parity, missing = check_parity(model, path, ONNX_BATCHES, tolerance), ""
    except MissingPackageError as error:  # ONNX Runtime, which measures and compares
        say(missing := str(error))
        info, parity = write(), None
    for node, why in info.kept.items():
        say(f"{node} stays in fp32: {why}")
    return ExportedGraph(replace(info, path=Path(path.name)), parity, missing)


def _inside(graph: ExportedGraph, source: Path, path: Path, facts: Preprocessing, say: Say) -> ExportedGraph:
    """The graph at `source`, as it was compared with PyTorch, written to `path` with its preprocessing inside."""
    way, external = put_inside(source, path, facts)
    say(f"the preprocessing of {path.name} is inside: {WAYS[way]}")
    return replace(graph, info=replace(onnx_info(path, external), path=Path(path.name)))


def _quantize(
    inputs: Inputs,
    side: str,
    model: nn.Module,
    fp32: Path,
    path: Path,
    precision: str,
    images: Calibration,
    say: Say,
) -> ExportedGraph:
    spec = inputs.recipe.export
    cache, limit = inputs.working_file(f"calibration.{side}.safetensors"), None
    if spec.max_drop is not None:
        trials = inputs.working_file(f"trials.{side}.{precision}.json")
        limit = Limit(spec.max_drop, _judge(inputs, model, fp32), trials)
    options = _planned(inputs, fp32, images) if side == "pruned" else spec.quantization
    written = partial(quantize_onnx, fp32, path, images, precision, options, cache=cache, limit=limit, say=say)
    try:
        info, how = written()
    except OtherCalibrationError as error:  # what the recipe, the images or the model were before
        say(f"{error}, which this stage does: it is measured anew")
        cache.unlink()
        info, how = written()
    parity = check_parity(model, path, tolerance=spec.parity.of(precision), images=Quarter(images), reference=fp32)
    return ExportedGraph(replace(info, path=Path(path.name)), parity, quantized=how)


def _planned(inputs: Inputs, fp32: Path, images: Calibration) -> Quantization:
    """How the small model is quantised: as the recipe says, but as the plan says where that chooses bits."""
    spec = inputs.recipe.export.quantization
    if not any(isinstance(one, Output) and one.stage == "plan" for one in inputs.reads):
        return spec
    return replace(spec, ends=True, keep=(*spec.keep, *wide_products(inputs.groups, inputs.plan, fp32, images)))


def _judge(inputs: Inputs, model: nn.Module, fp32: Path) -> GraphJudge:
    """What measures graphs on calibration images: the loss on those that measure no range, and a few of the others."""
    spec, images = inputs.recipe.export.quantize, inputs.calibration_images
    source = [images.fingerprint(), inputs.recipe.seed, asdict(spec), SENSITIVE]
    return GraphJudge(model, fp32, *inputs.limit_images(spec, SENSITIVE), inputs.model_task, images.classes, source)
