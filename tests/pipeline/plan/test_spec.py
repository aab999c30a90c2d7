"""The plan's part of a recipe: the keys of the allocations' dataclasses, each refused by name where it is wrong."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from secateur.core.errors import PlanError, RecipeError
from secateur.pipeline.plan.allocation import ALLOCATIONS, Allocation, find_allocation, own_options
from secateur.pipeline.plan.evolution import Evolution
from secateur.pipeline.plan.knapsack import Knapsack
from secateur.pipeline.plan.spec import PlanSpec, default_spec
from secateur.pipeline.runs.recipe import Recipe, make_recipe
from tests.pipeline.runs.processes import KWARGS, RECIPE

DEFAULTS = """\
plan:
  allocate: knapsack
  rounds: 1
  align: 8
  kinds:
  - mlp_hidden
  - qk_dim
  - v_dim
  - channel
  skip: []
  least: null
  evolution:
    population: 16
    generations: 6
    images: 200
    storage: ''
  xpruner:
    steps: 100
    batch_size: 32
    images: 200
    start: 0.9
    cool: 10.0
    sharp: 100.0
    lr: 0.05
    ascent: 0.5
    loss: divergence
"""
"""As recipes had it before the keys were made from the allocations, and with rounds."""
THEIRS = """
from secateur.pipeline.plan.allocation import Allocation, Order, Problem, allocation

@allocation("deepest")
class Deepest(Allocation):
    '''The last groups give first.'''

    first: int = 1

    def order(self, problem: Problem) -> Order:
        names = list(problem.steps)[::-1]
        return [step for name in names[:: self.first] for step in problem.steps[name]]
"""


def recipe(plan: Mapping[str, Any], **budget: Any) -> Recipe:
    content = {"model": {"name": "test_vit"}, "data": {"path": "digits"}, "plan": plan}
    return make_recipe({**content, "budget": budget or {"macs": 0.5}}, "here")


def install(folder: Path, name: str, source: str) -> None:
    """A distribution `theirs` with the allocation `name` in `theirs.py`."""
    (folder / "theirs.py").write_text(source)
    about = folder / "theirs-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[secateur.allocations]\n{name} = theirs:{name.title()}\n")


def test_every_default_is_written_out_as_ever() -> None:
    assert DEFAULTS in recipe({}).to_yaml()
    assert make_recipe(yaml.safe_load(recipe({}).to_yaml()), "again") == recipe({})


@pytest.mark.parametrize("name", ALLOCATIONS.own())
def test_the_chosen_allocation_has_the_options_of_the_recipe(name: str) -> None:
    kind = find_allocation(name)
    own = {option: getattr(kind, option) for option in own_options(kind)}
    common = {"align": 4, "kinds": ["head"], "skip": ["blocks.0.*"], "least": 2}
    content = {"allocate": name, **common, **({name: own} if own else {})}
    made = PlanSpec.read(content).allocation()
    assert made == kind(align=4, kinds=("head",), skip=("blocks.0.*",), least=2)
    assert type(made) is kind


def test_sections_are_those_of_allocations_with_options_of_their_own() -> None:
    spec = default_spec()
    assert spec.sections() == ("evolution", "xpruner")
    assert [item.name for item in fields(spec)][:6] == ["allocate", "rounds", "align", "kinds", "skip", "least"]
    assert spec.allocation() == Knapsack()
    chosen = recipe({"allocate": "evolution", "align": 2, "evolution": {"population": 5}}).plan.allocation()
    assert chosen == Evolution(align=2, population=5)


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        ({"kinds": ["mlps"]}, r"plan\.kinds is \['mlps'\], but must be one of head, qk_dim, v_dim, mlp_hidden"),
        ({"kinds": []}, r"plan\.kinds is empty"),
        ({"kinds": "head"}, r"plan\.kinds is 'head'"),
        ({"align": 0}, r"plan\.align is 0, but must be 1 or more"),
        ({"align": 2.5}, r"plan\.align is 2\.5"),
        ({"least": -1}, r"plan\.least is -1, but must be 0 or more"),
        ({"skip": [3]}, r"plan\.skip is \[3\]"),
        ({"skip": "blocks.0.*"}, r"plan\.skip is 'blocks"),
        ({"allocate": "globall"}, "no allocation 'globall'.*did you mean 'global'"),
        ({"evolution": {"population": 1}}, r"plan\.evolution\.population is 1, but must be 3 or more"),
        ({"evolution": {"populaton": 9}}, r"unknown key 'plan\.evolution\.populaton'; did you mean 'population'"),
        ({"xpruner": {"loss": "kl"}}, r"plan\.xpruner\.loss is 'kl', but must be one of divergence, cross_entropy"),
        ({"xpruner": {"lr": 0.5}}, r"plan\.xpruner\.lr is 0\.5, but must be from 1e-06 to 0\.1"),
        ({"xpruner": 3}, r"plan\.xpruner is 3"),
        ({"knapsack": {"align": 4}}, r"unknown key 'plan\.knapsack'"),
        ({"aling": 4}, r"unknown key 'plan\.aling'; did you mean 'align'"),
    ],
)
def test_mistakes_are_refused_when_the_recipe_is_read(plan: Mapping[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        recipe(plan)


def test_an_allocation_that_cannot_meet_the_kind_of_budget_is_refused_too() -> None:
    recipe({"allocate": "knapsack"}, latency=0.5, target="torch:cpu")
    with pytest.raises(PlanError, match="'xpruner' needs a budget of macs, params or units, but got a latency"):
        recipe({"allocate": "xpruner"}, latency=0.5, target="torch:cpu")


def test_values_given_in_python_are_checked_alike() -> None:
    with pytest.raises(PlanError, match=r"plan\.align is 0"):
        PlanSpec(align=0)
    with pytest.raises(PlanError, match="no allocation 'other'"):
        PlanSpec(allocate="other")


@pytest.mark.nightly
def test_a_package_adds_an_allocation_that_the_command_line_finds(tmp_path: Path) -> None:
    """In a process of its own, since what is registered stays so; ranking loads no database on the way."""
    install(tmp_path, "deepest", THEIRS)
    model = {"name": "vit_tiny_patch16_224", "kwargs": {**KWARGS, "depth": 2}}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({**RECIPE, "model": model, "budget": {"macs": 0.9}}))
    code = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(tmp_path)!r})
from secateur.pipeline.cli import main
from secateur.pipeline.plan.spec import default_spec
from secateur.pipeline.runs.recipe import read_recipe
from secateur.pipeline.runs.runner import open_run
assert "scipy.interpolate" not in sys.modules, "which is for measured curves"

def ends(code, *words):
    try:
        main(list(words))
    except SystemExit as end:
        assert end.code == code, end.code
    else:
        assert not code, code

def planned(*settings):
    run = open_run(Path("run"), read_recipe(Path("recipe.yaml"), settings), update=True)
    ends(0, "plan", "run", *(word for setting in settings for word in ("--set", setting)))
    return run

assert planned().plan.facts.allocate == "global"
assert "deepest" not in Path("run/recipe.yaml").read_text(), "what no recipe names is in none"
run = planned("plan.allocate=deepest", "plan.kinds=[mlp_hidden]")
assert "  deepest:\\n    first: 1\\n" in Path("run/recipe.yaml").read_text()
assert run.plan.facts.allocate == "deepest"
assert set(run.plan.kept) == {{"blocks.1.mlp.hidden"}}, set(run.plan.kept)
assert not {{"optuna", "sqlalchemy"}} & set(sys.modules)
for setting in ("plan.deepest.frist=2", "plan.deepest.first=many"):
    ends(2, "run", "recipe.yaml", "--out", "bad", "--set", setting)
assert not Path("bad").exists()
print("all of it")
"""
    done = subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "all of it" in done.stdout
    assert "unknown key 'plan.deepest.frist'; did you mean 'first'" in done.stderr
    assert "plan.deepest.first is 'many'" in done.stderr


@pytest.mark.parametrize(
    ("name", "source", "words"),
    [
        ("plain", "def Plain(problem): ...", r"the allocation 'plain' is <function Plain.*but must be an Allocation"),
        ("broken", "import nowhere_at_all", "'broken' of theirs:Broken cannot be imported"),
    ],
)
def test_a_package_that_is_wrong_hurts_only_where_it_is_named(
    name: str, source: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, name, source)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "theirs", raising=False)
    try:
        assert name in ALLOCATIONS.names()
        assert recipe({}).plan.sections() == ("evolution", "xpruner")
        with pytest.raises(PlanError, match=words):
            recipe({"allocate": name})
    finally:
        sys.modules.pop("theirs", None)
        ALLOCATIONS._found.pop(name, None)


def test_an_allocation_takes_no_name_of_a_key() -> None:
    from secateur.pipeline.plan.allocation import allocation

    with pytest.raises(ValueError, match="cannot be called 'align'"):

        @allocation("align")
        class Align(Allocation):
            def order(self, problem: Any) -> Any:
                return []
