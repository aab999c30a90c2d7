"""What a stage is handed: everything that it has declared, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from secateur.core.files import sha256_file
from secateur.core.input_spec import InputSpec
from secateur.pipeline.runs.context import Run
from secateur.pipeline.runs.declarations import (
    CalibrationImages,
    ClassNames,
    Declaration,
    DenseModel,
    Found,
    HeldOutImages,
    Output,
    RecipePart,
    recipe_parts,
)
from secateur.pipeline.runs.inputs import Inputs, UndeclaredError
from secateur.pipeline.runs.manifest import Entry
from secateur.pipeline.structure.plan import Plan
from secateur.pipeline.structure.storage import save
from tests.pipeline.runs.small_run import make_inputs, recipe_of

EVERYTHING = (
    *(DenseModel(), CalibrationImages(), ClassNames(), HeldOutImages()),
    *(Output("plan"), Output("recover", "model/*"), Found("plan.json"), *recipe_parts("seed", "bench")),
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with a plan and a model; nobody may change it."""
    folder = tmp_path_factory.mktemp("handed")
    make_inputs(folder)
    run = Run(folder / "run", recipe_of(folder))
    run.folder.mkdir()
    Plan({}, "a fingerprint", InputSpec.shaped((1, 16, 16))).save(run.folder / "plan.json")
    (run.folder / "bench.json").write_text("{}")
    save(run.dense, run.folder / "model")
    return run


def hand(run: Run, *reads: Declaration, keeps: tuple[str, ...] = ()) -> Inputs:
    made = {
        "plan": ["plan.json"],
        "bench": ["bench.json"],
        "recover": ["model/structure.json", "model/model.safetensors"],
    }
    entries = {
        stage: Entry("", {name: sha256_file(run.folder / name) for name in names}, 0.0, {}, 0)
        for stage, names in made.items()
    }
    return Inputs("some", reads, keeps, run, entries)


@pytest.mark.parametrize(
    ("declaration", "opens"),
    [
        (DenseModel(), lambda inputs: inputs.dense),
        (DenseModel(), lambda inputs: inputs.groups),
        (CalibrationImages(), lambda inputs: inputs.calibration_images),
        (ClassNames(), lambda inputs: inputs.classes),
        (CalibrationImages(), lambda inputs: inputs.calibration(1, 2)),
        (CalibrationImages(), lambda inputs: [inputs.shared_statistics]),
        (HeldOutImages(), lambda inputs: inputs.held_out_images),
        (HeldOutImages(), lambda inputs: inputs.evaluation()),
        (Output("plan"), lambda inputs: inputs.plan),
        (Output("plan"), lambda inputs: inputs.path("plan.json")),
        (Output("plan"), lambda inputs: inputs.folder_of(Output("plan"))),
        (Output("recover", "model/*"), lambda inputs: inputs.model("model")),
        (Found("plan.json"), lambda inputs: inputs.found("plan.json")),
        (RecipePart("seed"), lambda inputs: [inputs.recipe.seed]),
        (RecipePart("bench"), lambda inputs: inputs.recipe.bench),
        (RecipePart("bench"), lambda inputs: [inputs.recipe.bench.threads]),
    ],
)
def test_what_is_declared_is_there_and_what_is_not_raises(
    run: Run, declaration: Declaration, opens: Callable[[Inputs], object]
) -> None:
    assert opens(hand(run, declaration)) is not None
    others = [one for one in EVERYTHING if one != declaration]
    with pytest.raises(UndeclaredError, match="'some'"):
        opens(hand(run, *others))


def test_of_a_section_only_the_declared_values_are_seen(run: Run) -> None:
    recipe = hand(run, RecipePart("bench.threads")).recipe
    assert recipe.bench.threads == run.recipe.bench.threads
    for opens in (lambda: recipe.bench.seconds, lambda: recipe.plan, lambda: recipe.seed):
        with pytest.raises(UndeclaredError, match=r"recipe\."):
            opens()
    assert hand(run, RecipePart("")).recipe is run.recipe


def test_a_file_that_matches_no_declaration_is_not_there(run: Run) -> None:
    inputs = hand(run, Output("plan", "plan.json"))
    assert inputs.has("plan.json")
    assert not inputs.has("bench.json")
    with pytest.raises(UndeclaredError, match=r"opens bench\.json, .* that it declares: plan\.json"):
        inputs.path("bench.json")


def test_working_files_are_declared_too(run: Run) -> None:
    inputs = hand(run, keeps=("plan.db*",))
    assert inputs.working_file("plan.db-wal") == run.folder / "plan.db-wal"
    assert inputs.working_folder == run.folder
    with pytest.raises(UndeclaredError, match="keeps other"):
        inputs.working_file("other")
    with pytest.raises(UndeclaredError, match="working files"):
        _ = hand(run).working_folder


def test_helpers_are_told_the_stage_and_the_whole_recipe(run: Run) -> None:
    task = hand(run).task()
    assert (task.stage, task.recipe) == ("some", run.recipe.to_yaml())
