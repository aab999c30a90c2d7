"""Score methods: made by name or as they are, their options checked at once, and those of a user's own package."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, fields
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from secateur.core.errors import DataError, PlanError
from secateur.core.options import plain_options
from secateur.pipeline.data.loader import Batches
from secateur.pipeline.runs.recipe import make_recipe
from secateur.pipeline.scores.lrp.composite import find_composite
from secateur.pipeline.scores.lrp.method import Lrp
from secateur.pipeline.scores.obs import Obs
from secateur.pipeline.scores.registry import METHODS, Scored, ScoreMethod, method_of, name_of
from secateur.pipeline.scores.score import Scores, score
from secateur.pipeline.scores.taylor import Taylor
from secateur.pipeline.structure.groups import Groups
from tests.forked import COMMAND, finished, started
from tests.pipeline.runs.processes import RECIPE, write_recipe

PACKAGE = '''
"""A score of one's own: the largest weight of a unit. This file is all that it takes, beside the entry point."""

from dataclasses import dataclass
from typing import Annotated

import torch

from secateur.core.ranges import Range
from secateur.pipeline.scores.registry import ScoreMethod


@dataclass(frozen=True)
class Largest(ScoreMethod):
    """The largest absolute weight of a unit in all of its slices, to the `power`."""

    power: Annotated[float, Range(0, strict=True)] = 1.0

    def score(self, model, groups, loader, seed):
        tensors = model.state_dict()
        scores = {}
        for group in groups:
            largest = torch.zeros(group.units)
            for part in group.slices:
                weight = tensors[part.tensor].abs().movedim(part.dim, 0)
                for position, unit in enumerate(part.units):
                    if unit >= 0:
                        largest[unit] = max(largest[unit], weight[position].max())
            scores[group.name] = largest**self.power
        return scores
'''


def install(folder: Path) -> None:
    """Puts a package with a score of its own into `folder`, as pip would."""
    (folder / "largest_weight.py").write_text(PACKAGE)
    about = folder / "largest_weight-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: largest-weight\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[secateur.scores]\nlargest = largest_weight:Largest\n")


def test_the_command_line_finds_the_score_of_a_users_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "package"
    package.mkdir()
    install(package)
    write_recipe(tmp_path / "run", {**RECIPE, "score": {"method": "largest", "options": {"power": 2}}})
    code = "sys.path.insert(0, package)\n" + COMMAND
    assert finished(started(code, package=str(package), words=["score", str(tmp_path / "run")])) == [0]
    found = Scores.load(tmp_path / "run" / "scores.safetensors")
    assert (found.method, found.options) == ("largest", {"power": 2})
    assert all(bool((value > 0).all()) for value in found.values.values())
    monkeypatch.syspath_prepend(str(package))
    monkeypatch.setattr(METHODS, "_found", dict(METHODS._found))
    with pytest.raises(PlanError, match=r"largest has no option 'pwoer'; did you mean 'power'\?"):
        make_recipe({**RECIPE, "score": {"method": "largest", "options": {"pwoer": 2}}}, "recipe.yaml")


@pytest.mark.parametrize("name", METHODS.names())
def test_a_method_comes_back_from_its_plain_options(name: str) -> None:
    made = method_of(name, {})
    assert name_of(made) == name
    assert method_of(name, plain_options(made)) == made
    assert not plain_options(made)


def test_a_method_itself_scores_as_its_name_does(
    vit: nn.Module, vit_groups: Groups, batches: list[tuple[Tensor, Tensor]], tmp_path: Path
) -> None:
    composite = find_composite({"first": "gamma", "attention": "cp"})
    made = score(vit, vit_groups, batches, Lrp(composite, aggregate="signed"))
    named = score(vit, vit_groups, batches, "lrp", composite=composite.plain(), aggregate="signed")
    for group, value in made.values.items():
        assert torch.equal(value, named.values[group])
    made.save(tmp_path / "scores.safetensors")
    read = Scores.load(tmp_path / "scores.safetensors")
    assert (read.method, read.options) == ("lrp", {"composite": composite.plain(), "aggregate": "signed"})
    assert score(vit, vit_groups, batches, read.method, **read.options).options == read.options
    with pytest.raises(PlanError, match="has its options already"):
        score(vit, vit_groups, batches, Lrp(), per_class=True)


def test_a_method_that_is_nowhere_registered_goes_by_its_class(vit: nn.Module, vit_groups: Groups) -> None:
    @dataclass(frozen=True)
    class Ones(ScoreMethod):
        """All units alike."""

        times: float = 1.0

        def score(self, model: nn.Module, groups: Groups, loader: Batches, seed: int) -> Scored:
            """A number for each unit."""
            return {group.name: self.times * torch.ones(group.units) for group in groups}

    found = score(vit, vit_groups, [], Ones(2.0))
    assert (found.method, found.options) == ("Ones", {"times": 2.0})


@pytest.mark.nightly
def test_only_the_method_that_is_asked_for_is_imported() -> None:
    code = (
        "import sys; from secateur.pipeline.scores.registry import METHODS; METHODS.names(); METHODS.find('magnitude');"
        "assert not [name for name in sys.modules if name.endswith(('scores.obs', 'scores.taylor', 'lrp.method'))];"
        "METHODS.find('xmask'); assert 'accelerate' not in sys.modules"
    )
    subprocess.run([sys.executable, "-P", "-c", code], check=True)


def test_values_are_checked_when_a_method_is_made() -> None:
    with pytest.raises(PlanError, match=r"obs.metric is 'fischer', but must be one of .*did you mean 'fisher'"):
        Obs(metric="fischer")  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(PlanError, match="no composite 'epsilom'"):
        Lrp("epsilom")
    assert fields(Taylor) == ()


@pytest.mark.parametrize("name", ["taylor", "activation", "integrated_gradients", "lrp", "obs", "xmask"])
def test_without_images_nothing_is_scored(name: str, vit: nn.Module, vit_groups: Groups) -> None:
    with pytest.raises(DataError, match="there are no images to "):
        score(vit, vit_groups, [], name)
