"""Recipes: defaults written out, settings, and every mistake as one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from secateur.core.errors import PlanError, RecipeError, SecateurError
from secateur.pipeline.plan.budget import Budget
from secateur.pipeline.runs.recipe import Recipe, apply_settings, make_recipe, plain, read_recipe
from secateur.pipeline.tasks.spec import TaskSpec

ROOT = Path(__file__).parents[3]
MINIMAL = {"model": {"name": "deit_tiny_patch16_224"}, "data": {"path": "digits"}, "budget": {"macs": 0.5}}


def test_every_default_is_written_out_and_read_again() -> None:
    recipe = make_recipe(MINIMAL, "test")
    content = yaml.safe_load(recipe.to_yaml())
    assert content["score"]["method"] == "obs"
    assert content["plan"]["align"] == 8
    assert plain(make_recipe(content, "again")) == plain(recipe)
    assert isinstance(recipe, Recipe)


def test_a_plan_without_an_allocation_has_the_best_one_for_the_score() -> None:
    def allocate(*settings: str) -> str:
        return make_recipe(apply_settings(MINIMAL, settings), "test").plan.allocate

    assert allocate() == allocate("plan.align=4") == allocate("score.method=taylor") == "knapsack"
    assert allocate("score.method=magnitude") == allocate("score.method=magnitude", "plan.align=4") == "global"
    assert allocate("plan.allocate=uniform") == "uniform"
    with pytest.raises(PlanError, match="score: there is no score method 'tailor'"):
        allocate("score.method=tailor")


def test_settings_change_single_keys_and_a_budget_replaces_the_other() -> None:
    recipe = make_recipe(
        apply_settings(MINIMAL, ["budget.params=0.4", "score.method=random", "plan.kinds=[head]", "seed=3"]), "test"
    )
    assert (recipe.budget.params, recipe.budget.macs) == (0.4, None)
    assert (recipe.score.method, recipe.plan.kinds, recipe.seed) == ("random", ("head",), 3)
    assert MINIMAL["budget"] == {"macs": 0.5}


@pytest.mark.parametrize("setting", ["score.method=xmask", "plan.allocate=evolution"])
def test_rounds_with_what_looks_at_the_dense_model_alone_are_refused(setting: str) -> None:
    assert make_recipe(apply_settings(MINIMAL, ["plan.rounds=3"]), "test").plan.rounds == 3
    with pytest.raises(PlanError, match=r"plan\.rounds is 3, but the (allocation|scores)"):
        make_recipe(apply_settings(MINIMAL, ["plan.rounds=3", setting]), "test")


LATENCY = {"latency": 0.5, "target": "torch:cpu"}


@pytest.mark.parametrize(
    ("there", "settings", "expected"),
    [
        ({"macs": 0.5}, ["latency=0.5", "target=torch:cpu"], LATENCY),
        ({"macs": 0.5}, ["target=torch:cpu", "latency=0.5"], LATENCY),
        (LATENCY, ["target=onnxruntime:cpu"], {"latency": 0.5, "target": "onnxruntime:cpu"}),
        (LATENCY, ["latency=2ms"], {"latency": "2ms", "target": "torch:cpu"}),
        (LATENCY, ["macs=0.4"], {"macs": 0.4}),
        ({"macs": 0.5, "params": None, "target": None}, ["params=0.4"], {"params": 0.4}),
        ({"macs": 0.5}, ["latency=null"], {"macs": 0.5}),
    ],
)
def test_one_measure_of_the_budget_replaces_another_and_the_target_stays_with_a_latency(
    there: dict[str, object], settings: list[str], expected: dict[str, object]
) -> None:
    content = apply_settings({**MINIMAL, "budget": there}, [f"budget.{setting}" for setting in settings])
    assert plain(make_recipe(content, "test").budget) == {**dict.fromkeys(plain(Budget(macs=0.5))), **expected}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["plan.alling=4"], r"unknown key 'plan\.alling'; did you mean 'align'\?; allowed here: allocate, rounds"),
        (["bugdet.macs=1"], r"unknown key 'bugdet'; did you mean 'budget'"),
        (["plan.align=many"], r"plan\.align is 'many'"),
        (["score"], "needs key=value"),
        (["seed.x=1"], "'seed' is a value, not a section"),
        (["seed=[1"], "not valid YAML"),
    ],
)
def test_mistakes_are_named(settings: list[str], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        make_recipe(apply_settings({**MINIMAL, "seed": 0}, settings), "test")


def test_a_missing_section_and_a_bad_budget_are_named() -> None:
    with pytest.raises(RecipeError, match="lacks the key 'data'"):
        make_recipe({key: value for key, value in MINIMAL.items() if key != "data"}, "test")
    for value in (0, 1.5):
        with pytest.raises(PlanError, match=f"budget macs is {value}"):
            make_recipe(apply_settings(MINIMAL, [f"budget.macs={value}"]), "test")


def test_paths_beside_the_recipe_are_found(tmp_path: Path) -> None:
    (tmp_path / "weights.safetensors").touch()
    (tmp_path / "images").mkdir()
    (tmp_path / "classes.txt").touch()
    (tmp_path / "rules.yaml").write_text("first: gamma\n")
    data = {"path": "images", "class_map": "classes.txt"}
    score = {"method": "lrp", "options": {"composite": "rules.yaml"}}
    content = {**MINIMAL, "model": {"name": "vit", "weights": "weights.safetensors"}, "data": data, "score": score}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(content))
    recipe = read_recipe(tmp_path / "r.yaml")
    assert recipe.model.weights == str((tmp_path / "weights.safetensors").resolve())
    assert recipe.data.path == str((tmp_path / "images").resolve())
    assert recipe.data.class_map == str((tmp_path / "classes.txt").resolve())
    assert recipe.score.options == {"composite": str((tmp_path / "rules.yaml").resolve())}


def test_a_composites_file_is_found_from_where_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the recipe, or where the command is given; a file that is called like a composite is no matter."""
    (tmp_path / "here").mkdir()
    for name in ("rules.yaml", "gamma"):
        (tmp_path / "here" / name).write_text("first: z_plus\n")
    (tmp_path / "r.yaml").write_text(yaml.safe_dump({**MINIMAL, "score": {"method": "lrp"}}))
    monkeypatch.chdir(tmp_path / "here")
    for given, found in (("rules.yaml", str(tmp_path / "here" / "rules.yaml")), ("gamma", "gamma")):
        recipe = read_recipe(tmp_path / "r.yaml", [f"score.options.composite={given}"])
        assert recipe.score.options == {"composite": found}


def test_files_that_are_no_recipes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot read the recipe"):
        read_recipe(tmp_path / "absent.yaml")
    (tmp_path / "r.yaml").write_text("- a\n")
    with pytest.raises(RecipeError, match="holds a list"):
        read_recipe(tmp_path / "r.yaml")
    (tmp_path / "r.yaml").write_text("a: [")
    with pytest.raises(RecipeError, match="not valid YAML"):
        read_recipe(tmp_path / "r.yaml")


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda p: p.name)
def test_the_shipped_recipes_are_valid(path: Path) -> None:
    assert read_recipe(path).budget is not None


def test_the_recipe_of_the_readme_takes_what_keeps_most(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text().split("```yaml\n")[1].split("```")[0]
    (tmp_path / "r.yaml").write_text(text)
    recipe = read_recipe(tmp_path / "r.yaml")
    assert (recipe.score.method, recipe.plan.allocate, recipe.budget.macs) == ("obs", "knapsack", 0.5)


def test_a_task_is_a_name_or_a_section() -> None:
    for task in ("regress", {"name": "regress"}):
        recipe = make_recipe({**MINIMAL, "task": task}, "test")
        assert recipe.task == TaskSpec("regress")
        assert make_recipe(yaml.safe_load(recipe.to_yaml()), "again") == recipe
    assert make_recipe(MINIMAL, "test").task == TaskSpec("classify")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"classes": ["a", "b"]}, "the task is embed, whose images have not one class each"),
        ({"score": {"method": "xmask"}}, "score: the xmask scores are class-wise, but the task embed"),
        ({"score": {"method": "lrp", "options": {"per_class": True}}}, "score: the lrp scores are class-wise"),
    ],
)
def test_what_is_class_wise_needs_a_classifier(changes: dict[str, object], words: str) -> None:
    make_recipe({**MINIMAL, **changes}, "test")
    with pytest.raises(SecateurError, match=words):
        make_recipe({**MINIMAL, **changes, "task": "embed"}, "test")


BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 9)}]\n" for i in range(12))


@pytest.mark.parametrize("text", [BOMB, "model: &m {name: *m}", "seed: 2024-13-45", "[" * 5000, "seed: " + "9" * 5000])
def test_yaml_that_is_a_trap_is_one_sentence(text: str, tmp_path: Path) -> None:
    (tmp_path / "trap.yaml").write_text(text)
    with pytest.raises(RecipeError, match=r"trap\.yaml is not valid YAML: "):
        read_recipe(tmp_path / "trap.yaml")
    with pytest.raises(RecipeError, match=r"--set seed got .* not valid YAML"):
        apply_settings({}, [f"seed={text}"])
