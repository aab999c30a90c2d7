"""`secateur prune --classes`: a run for some of its classes, to the report."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from secateur.pipeline.cli import main
from secateur.pipeline.runs.run_folder import RUN, claim
from secateur.pipeline.runs.runner import open_run
from secateur.pipeline.runs.subjects import run_subjects
from secateur.pipeline.scores.score import Scores
from secateur.pipeline.structure.history import classes_of
from secateur.pipeline.structure.storage import load, save
from tests.pipeline.runs.test_runner import CONTENT

MASKS = {"method": "xmask", "samples_per_class": 3, "options": {"epochs": 1, "kinds": ["head", "mlp_hidden"]}}
PLAN = {"kinds": ["head", "mlp_hidden"]}


def secateur(*words: str) -> object:
    """The exit code of a command."""
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    return ended.value.code


def test_a_run_is_specialised(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    claim(folder, RUN)
    recipe = {**CONTENT, "score": MASKS, "plan": PLAN}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert secateur("prune", str(folder), "--classes", "7, 1,4") == 0
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    folder = tmp_path / "run-3-classes"
    assert yaml.safe_load((folder / "recipe.yaml").read_text())["classes"] == ["7", "1", "4"]
    small = load(folder / "pruned")
    chosen = classes_of(small)
    assert chosen is not None
    assert (chosen.of, chosen.kept, chosen.names) == (10, (7, 1, 4), ("7", "1", "4"))
    run = open_run(folder)
    assert run.data.classes == ("7", "1", "4")
    assert len(run.data.evaluation) < 0.35 * len(run._all_data.evaluation)
    scores = Scores.load(folder / "scores.safetensors")
    assert {value.shape[0] for value in scores.values.values()} == {3}
    assert run.evaluation().samples == len(run.data.evaluation)
    save(small, folder / "model")
    dense, pruned = run_subjects(folder)
    x = torch.zeros(1, 1, 16, 16)
    assert dense.module is not None and pruned.module is not None
    assert dense.module(x).shape == pruned.module(x).shape == (1, 3)


def test_a_class_that_is_not_there_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, place = tmp_path / "run", ("--out", str(tmp_path / "few"))
    claim(run, RUN)
    (run / "recipe.yaml").write_text(yaml.safe_dump(CONTENT))
    assert secateur("prune", str(run), "--classes", "7,eleven", *place) == 2
    assert "the data has no class 'eleven'" in capsys.readouterr().err
    assert secateur("prune", str(run), "--classes", "7") == 2
    assert "name two or more" in capsys.readouterr().err
    assert secateur("prune", str(run), *place) == 2
    assert "--out is for the run that --classes makes" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["run"]  # what cannot work is not written
