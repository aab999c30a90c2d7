"""The search of a run: the command, its files, and that no image serves both sides of it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result

from secateur.core.errors import DataError
from secateur.pipeline.cli import cli, main
from secateur.pipeline.runs import search_run as for_run
from secateur.pipeline.runs.context import Run
from secateur.pipeline.runs.recipe import make_recipe
from secateur.pipeline.runs.runner import open_run
from secateur.pipeline.runs.search_run import SearchFile, search_run, split
from secateur.pipeline.scores.lrp.composite import find_composite
from tests.pipeline.runs.test_curves import MODEL

OPTIONS = ("--kinds", "mlp_hidden", "--rates", "0,0.5", "--images-per-class", "2")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    recipe = {
        "model": MODEL,
        "data": {"path": "digits"},
        "budget": {"macs": 0.7},
        "score": {"samples_per_class": 2},
        "plan": {"kinds": ["head"]},
    }
    return open_run(tmp_path / "run", make_recipe(recipe, "test"))


def invoke(run: Run, *words: str) -> Result:
    return CliRunner().invoke(cli, ["score", str(run.folder), *words])


def test_the_command_leaves_a_composite_that_other_runs_can_name(run: Run) -> None:
    result = invoke(run, "--search", "2", *OPTIONS, "--json")
    assert result.exit_code == 0, result.output
    printed = json.loads(result.stdout)
    assert [row["number"] for row in printed["trials"]] == [0, 1]
    assert printed["a_pr"] == max(row["a_pr"] for row in printed["trials"])
    folder = run.folder / "search"
    assert printed["composite"] == str(folder / "composite.yaml")
    content = json.loads((folder / "search.json").read_text())
    assert content["schema"] == "secateur.search/1"
    assert list(content) == ["schema", "study", "a_pr", "images", "reference_images", "shape", "trials"]
    assert asdict(SearchFile.load(folder / "search.json"))["trials"] == tuple(printed["trials"])
    assert content["trials"] == printed["trials"]
    assert (content["images"], content["reference_images"]) == (20, 20)
    assert (content["shape"]["kinds"], content["shape"]["rates"]) == (["mlp_hidden"], [0.0, 0.5])
    assert (folder / "search.png").read_bytes().startswith(b"\x89PNG")
    assert yaml.safe_load((folder / "composite.yaml").read_text())["about"]["a_pr"] == printed["a_pr"]
    find_composite(folder / "composite.yaml")
    again = invoke(run, "--set", "score.method=lrp", "--set", f"score.options.composite={folder / 'composite.yaml'}")
    assert again.exit_code == 0, again.output


@pytest.mark.nightly
def test_the_command_goes_on_and_takes_another_storage(run: Run, tmp_path: Path) -> None:
    assert invoke(run, "--search", "1", *OPTIONS).stdout.strip() == str(run.folder / "search" / "composite.yaml")
    assert len(json.loads(invoke(run, "--search", "2", *OPTIONS, "--json").stdout)["trials"]) == 2
    storage = ("--storage", f"sqlite:///{tmp_path / 'shared.db'}", "--study", "ours")
    assert len(json.loads(invoke(run, "--search", "1", *OPTIONS, *storage, "--json").stdout)["trials"]) == 1
    assert json.loads((run.folder / "search" / "search.json").read_text())["study"] == "ours"
    assert (tmp_path / "shared.db").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--storage", "sqlite:///a.db"), "--storage is for a search"),
        (("--images-per-class", "2"), "--images-per-class is for a search"),
        (("--search", "1", "--set", "seed=1"), "--set does not go with --search"),
        (("--search", "0"), "0 is not in the range"),
        (("--search", "1", "--rates", "0,half"), "numbers apart by commas"),
        (("--search", "1", "--kinds", "heads"), "head"),
        (("--search", "1", "--storage", "study.db"), "no URL of a database"),
    ],
)
def test_bad_options_are_refused(
    run: Run, words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["score", str(run.folder), *words])
    assert caught.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (run.folder / "search" / "composite.yaml").exists()


def test_evaluation_images_are_never_touched(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[int] = []
    original = for_run.Loader

    def loader(images: object, transform: object, batch_size: int, indices: object) -> object:
        assert images is run.data.calibration
        used.extend(indices)  # type: ignore[call-overload]  # an array
        return original(images, transform, batch_size, indices)  # type: ignore[arg-type]  # passed through

    monkeypatch.setattr(for_run, "Loader", loader)
    search_run(run, 1, rates=(0.5,))
    assert json.loads((run.folder / "search" / "search.json").read_text())["shape"]["kinds"] == ["head"]
    labels = run.data.calibration.labels
    assert len(used) == len(set(used)) > len(labels) // 2
    assert np.bincount(labels[used[:20]]).tolist() == [2] * 10  # the recipe's samples_per_class


def test_a_split_takes_half_of_each_class_and_half_of_all_where_classes_are_single() -> None:
    labels = np.repeat(np.arange(3), 4)
    reference, judged = split(labels, 0.5, 0)
    assert sorted([*reference, *judged]) == list(range(12))
    assert np.bincount(labels[judged]).tolist() == [2, 2, 2]
    reference, judged = split(np.arange(7), 0.5, 0)
    assert sorted([*reference, *judged]) == list(range(7))
    assert len(judged) == 4
    assert [part.tolist() for part in split(np.arange(7), 0.5, 0)] == [reference.tolist(), judged.tolist()]
    with pytest.raises(DataError, match="two calibration images"):
        split(np.zeros(1, dtype=np.int64), 0.5, 0)
