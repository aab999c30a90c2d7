"""Evolution in runs: workers of two folders share a storage, each ends with the plan of both, and no label or held-out
image has a say."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from secateur.core.errors import RecipeError
from secateur.pipeline.runs.context import Run
from secateur.pipeline.runs.recipe import Recipe, make_recipe
from secateur.pipeline.runs.runner import open_run, run_stages
from secateur.pipeline.structure.plan import Plan
from tests.forked import finished, secateur


def recipe(storage: str = "", population: int = 4) -> Recipe:
    kwargs = {"img_size": 16, "patch_size": 8, "in_chans": 1, "embed_dim": 48, "depth": 2, "num_heads": 3}
    content = {
        "model": {"name": "vit_tiny_patch16_224", "kwargs": {**kwargs, "num_classes": 10}},
        "data": {"path": "digits"},
        "budget": {"macs": 0.6},
        "score": {"method": "magnitude"},
        "plan": {
            "allocate": "evolution",
            "evolution": {"population": population, "generations": 2, "images": 40, "storage": storage},
        },
    }
    return make_recipe(content, "here")


@pytest.mark.nightly
def test_two_processes_share_the_work_and_end_with_one_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path / 'plans.db'}"
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        open_run(folder, recipe(url))
    assert finished(*(secateur("plan", folder) for folder in folders)) == [0, 0]
    plans = [Plan.load(folder / "plan.json") for folder in folders]
    assert plans[0] == plans[1]
    (name,) = optuna.get_all_study_names(url)
    done = [t for t in optuna.load_study(study_name=name, storage=url).trials if t.state == TrialState.COMPLETE]
    assert len({tuple(t.user_attrs["removed_chunks"]) for t in done}) == 8

    def refuse(run: Run, batch_size: int = 32) -> None:
        raise AssertionError("the held-out images were touched")

    monkeypatch.setattr(Run, "evaluation", refuse)
    alone = open_run(tmp_path / "alone", recipe())
    run_stages(alone, until="plan")
    assert alone.plan.kept == plans[0].kept
    assert (tmp_path / "alone" / "plan.db").exists()


def test_numbers_that_make_no_sense_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"plan\.evolution\.population is 1, but must be 3 or more"):
        recipe(population=1)
