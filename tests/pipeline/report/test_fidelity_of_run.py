"""The fidelity in a run's report: on held-out images, as many as the recipe asks for."""

from __future__ import annotations

from pathlib import Path

import pytest

from secateur.core.errors import ModelError, SecateurError
from secateur.pipeline.analysis.fidelity import GRADIENT
from secateur.pipeline.report import fidelity_of_run as module
from secateur.pipeline.report.fidelity_of_run import fidelity_of_run
from secateur.pipeline.runs.context import Run
from secateur.pipeline.runs.recipe import make_recipe
from secateur.pipeline.runs.runner import open_run
from secateur.pipeline.structure.storage import save
from tests.pipeline.runs.handed import handed
from tests.pipeline.runs.test_curves import MODEL


def made(folder: Path, **report: object) -> Run:
    recipe = {"model": MODEL, "data": {"path": "digits"}, "budget": {"macs": 0.8}, "report": report}
    run = open_run(folder / "run", make_recipe(recipe, "test"))
    save(run.dense, run.folder / "model")
    return run


def test_images_lie_evenly_over_the_held_out_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = made(tmp_path, images=5, examples=2)
    used: list[object] = []
    original = module.Loader

    def loader(images: object, transform: object, batch_size: int, indices: object) -> object:
        used.extend([images, indices.tolist()])  # type: ignore[attr-defined]  # an array
        return original(images, transform, batch_size, indices)  # type: ignore[arg-type]  # passed through

    monkeypatch.setattr(module, "Loader", loader)
    found = fidelity_of_run(handed(run, "report"), lambda message: None)
    last = len(run.data.evaluation) - 1
    assert used == [run.data.evaluation, [round(step * last / 4) for step in range(5)]]
    assert found is not None
    assert found.found.cosine == pytest.approx([1.0] * 5, abs=1e-5)
    assert [example.index for example in found.found.examples] == [0, 4]
    assert (found.rules, found.said) == ("gradient", "gradient times input, which is noisy")


def test_more_images_than_there_are_is_all_of_them_and_none_is_none(tmp_path: Path) -> None:
    run = made(tmp_path / "all", images=10**6, examples=0, rules="epsilon")
    found = fidelity_of_run(handed(run, "report"), lambda message: None)
    assert found is not None
    assert len(found.found.cosine) == len(run.data.evaluation)
    assert found.said == "relevance propagation by the rules epsilon"
    assert fidelity_of_run(handed(made(tmp_path / "none", images=0), "report"), lambda message: None) is None


def test_where_the_rules_cannot_follow_a_model_gradients_are_shown_and_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = module.fidelity

    def lost(small: object, dense: object, loader: object, rules: str, **options: object) -> object:
        if rules != GRADIENT:
            raise ModelError("relevance has no rule for aten.odd")
        return original(small, dense, loader, rules, **options)  # type: ignore[arg-type]  # passed through

    monkeypatch.setattr(module, "fidelity", lost)
    said: list[str] = []
    found = fidelity_of_run(handed(made(tmp_path, images=2, rules="gamma"), "report"), said.append)
    assert found is not None
    assert (found.rules, found.instead) == (GRADIENT, "relevance has no rule for aten.odd")
    assert said[-1] == "maps by gradients instead of gamma: relevance has no rule for aten.odd"


@pytest.mark.parametrize(
    ("report", "message"), [({"rules": "epsilom"}, "did you mean 'epsilon'"), ({"images": -1}, "report.images is -1")]
)
def test_a_recipe_that_cannot_work_is_refused_before_anything_is_written(
    tmp_path: Path, report: dict[str, object], message: str
) -> None:
    with pytest.raises(SecateurError, match=message):
        made(tmp_path, **report)
    assert not (tmp_path / "run" / "recipe.yaml").exists()
