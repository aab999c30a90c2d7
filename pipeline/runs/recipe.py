"""Recipes: what a run does, as frozen dataclasses, read from YAML and `key=value` words.

Every key is checked when a recipe is read: that there is such a key, its type here, and its range and choices in the
dataclass of its section, in the room that the section is about. What depends on the model and the images is checked
when a run is opened (`runs.check`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, field, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml
from pydantic import ConfigDict, ValidationError
from pydantic.dataclasses import dataclass

from secateur.benchmarks.spec import BenchSpec
from secateur.core.errors import RecipeError, naming, near_matches
from secateur.core.ranges import Range, check_ranges
from secateur.core.records import adapter_of, once_a_type
from secateur.core.yaml_text import parse_yaml
from secateur.export.spec import ExportSpec
from secateur.pipeline.analysis.spec import ReportSpec
from secateur.pipeline.data.spec import DataSpec
from secateur.pipeline.models.spec import ModelSpec
from secateur.pipeline.plan.budget import Budget, clear_other_measures
from secateur.pipeline.plan.make import best_allocation
from secateur.pipeline.plan.rounds import check_rounds
from secateur.pipeline.plan.spec import PlanSpec, default_spec
from secateur.pipeline.recover.spec import RecoverSpec
from secateur.pipeline.scores.lrp.composite import NAMED
from secateur.pipeline.scores.registry import DEFAULT
from secateur.pipeline.scores.score import check_by_class
from secateur.pipeline.scores.spec import ScoreSpec
from secateur.pipeline.tasks.spec import TaskSpec

STRICT = ConfigDict(extra="forbid")
SEEDS = Range(0, 2**32 - 1)
"""What every generator of random numbers takes."""
PATHS = (
    "model.weights",
    "data.path",
    "data.calibration",
    "data.evaluation",
    "data.class_map",
    "score.options.composite",
)
"""The keys that name files or folders; a word that is a composite's name is no file."""


@dataclass(frozen=True, config=STRICT)
class Recipe:
    """Everything that a run needs to know; every key has a default but the model, the data and the budget.

    With `classes`, the model is specialised to these: its classifier is cut to them, and only their images count.
    The `task` says what the model is for. Raises `RecipeError` for a seed out of its range, for a class that is named
    twice or alone, and for what is class-wise where the task is not.
    """

    model: ModelSpec
    """The trained model that is made smaller."""
    data: DataSpec
    """Labelled images, and which of them are held out."""
    budget: Budget
    """What the small model may cost; exactly one measure."""
    score: ScoreSpec = field(default_factory=ScoreSpec)
    """How much each unit explains of the predictions."""
    plan: PlanSpec = field(default_factory=default_spec)
    """Which units stay under the budget."""
    recover: RecoverSpec = RecoverSpec()
    """How what is left is repaired."""
    export: ExportSpec = ExportSpec()
    """Which graphs are written and which engines are built."""
    bench: BenchSpec = BenchSpec()
    """Where and how latency is measured."""
    report: ReportSpec = ReportSpec()
    """What the report looks at besides the measurements."""
    classes: tuple[str, ...] = ()
    """The only classes that the small model will see, two or more by name: its classifier is cut to them; empty for
    all.
    """
    seed: int = 0
    """What every random choice is drawn by."""
    task: TaskSpec = TaskSpec()
    """What the model is for: a task by its name, or a section with its options."""

    def __post_init__(self) -> None:
        check_ranges(self, "", {"seed": SEEDS}, RecipeError)
        if len(self.classes) == 1 or len(set(self.classes)) < len(self.classes):
            raise RecipeError(f"classes is {list(self.classes)}, but must name two or more classes, each once, or none")
        task = self.task.made()
        if self.classes and not task.classifies:
            raise RecipeError(
                f"classes is {list(self.classes)}, but the task is {self.task.name}, whose images have not one class "
                "each that the model could be cut to: leave classes out"
            )
        with naming("score"):
            check_by_class(self.score.made(), task)
        allocation = self.plan.allocation()
        allocation.check(self.budget)
        check_rounds(self.plan.rounds, allocation, self.score.method)
        if "precision_losses" in allocation.needs and "int8" not in self.export.precisions:
            raise RecipeError(
                f"plan.allocate is {self.plan.allocate}, which plans operations in int8, but export.precisions is "
                f"{list(self.export.precisions)}: add int8"
            )

    def to_yaml(self) -> str:
        """The recipe as YAML, with every default written out."""
        return yaml.safe_dump(plain(self), sort_keys=False)


RecipeLike = Recipe | Mapping[str, Any] | str | Path
"""What a recipe can be given as: itself, its content, or the path of its file."""


def plain(value: Any) -> Any:
    """A recipe's values as plain lists and dictionaries."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    return value


def read_recipe(path: Path, settings: Sequence[str] = ()) -> Recipe:
    """The recipe in a YAML file, changed by `key.sub=value` settings; relative paths are taken from the file's folder.

    Raises `RecipeError` when the file cannot be read, a key is unknown or a value is out of its range.
    """
    try:
        content = parse_yaml(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"cannot read the recipe {path}: {error.strerror or error}; give a YAML file") from error
    except ValueError as error:
        raise RecipeError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise RecipeError(f"{path} holds a {type(content).__name__}, but a recipe has keys such as model, data, budget")
    return make_recipe(apply_settings(content, settings), str(path), Path(path).resolve().parent)


def recipe_of(recipe: RecipeLike, settings: Sequence[str] = ()) -> Recipe:
    """The recipe of a file, of its content, or a recipe itself, changed by `key.sub=value` settings."""
    if isinstance(recipe, str | Path):
        return read_recipe(Path(recipe), settings)
    content = plain(recipe) if isinstance(recipe, Recipe) else recipe
    return make_recipe(apply_settings(content, settings), "the recipe", Path.cwd())


def apply_settings(content: Mapping[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """A copy of a recipe's content with `key.sub=value` settings applied.

    Values are read as YAML, and paths that exist are made absolute.
    """
    changed: dict[str, Any] = plain(content)
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key:
            raise RecipeError(f"--set got {setting!r}, but needs key=value, such as budget.macs=0.4")
        try:
            value = parse_yaml(text)
        except ValueError as error:
            raise RecipeError(f"--set {key} got {text[:80]!r}, which is not valid YAML") from error
        *parents, last = key.split(".")
        place = changed
        for parent in parents:
            inner = place.setdefault(parent, {})
            if not isinstance(inner, dict):
                raise RecipeError(f"--set got {setting!r}, but {parent!r} is a value, not a section of the recipe")
            place = inner
        if parents == ["budget"] and value is not None:
            clear_other_measures(place, last)
        place[last] = _absolute(value, Path.cwd()) if key in PATHS else value
    return changed


def make_recipe(content: Mapping[str, Any], where: str, folder: Path | None = None) -> Recipe:
    """A recipe from its content; `where` names the source in errors, `folder` anchors relative paths."""
    content = _anchored(content, folder)
    _check_keys(content, Recipe, where, "")
    try:
        made: Recipe = adapter_of(Recipe).validate_python(_with_task(_with_plan(content)))
        return made
    except ValidationError as error:
        first = error.errors()[0]
        key, hint, given = _key_of(first["loc"], content)
        if first["type"] == "missing":
            raise RecipeError(
                f"{where} lacks the key {key!r}: every recipe needs model.name, data and budget"
            ) from None
        raise _wrong_type(where, key, given, hint) from None


def changed(recipe: Recipe, settings: Sequence[str]) -> Recipe:
    """The recipe changed by `key.sub=value` settings; raises `RecipeError` as `read_recipe` does."""
    return make_recipe(apply_settings(plain(recipe), settings), "--set") if settings else recipe


def _check_keys(content: Mapping[str, Any], kind: Any, where: str, place: str) -> None:
    """Refuses unknown keys, with near matches, at any depth, and truth values where a number or a text is meant."""
    hints = _hints(kind)
    allowed = [item.name for item in fields(kind)]
    for key, value in content.items():
        if key not in allowed:
            raise RecipeError(
                f"{where} has an unknown key {place + str(key)!r}{near_matches(str(key), allowed)}; "
                f"allowed here: {', '.join(allowed)}"
            )
        hint = hints[key]
        if is_dataclass(hint) and isinstance(value, Mapping):
            section = PlanSpec.kind_for(value) if hint is PlanSpec else hint
            _check_keys(value, section, where, f"{place}{key}.")
        elif _holds_truth(value) and "true" not in allowed_words(hint):
            raise _wrong_type(where, place + key, value, hint)


@once_a_type
def _hints(kind: Any) -> dict[str, Any]:
    """The types of a section's keys; nobody may change them."""
    return get_type_hints(kind)


def _with_plan(content: dict[str, Any]) -> dict[str, Any]:
    """The content with its plan read: which sections it has depends on the allocations that there are.

    A plan without an allocation gets the best one for the score.
    """
    plan, score = content.get("plan", {}), content.get("score", {})
    if not isinstance(plan, Mapping):
        return content
    method = score.get("method", DEFAULT) if isinstance(score, Mapping) else DEFAULT
    with naming("score"):
        best = best_allocation(str(method))
    return {**content, "plan": PlanSpec.read({"allocate": best, **plan})}


def _with_task(content: dict[str, Any]) -> dict[str, Any]:
    """The content with a task that is a name alone as the section that it stands for."""
    task = content.get("task")
    return {**content, "task": {"name": task}} if isinstance(task, str) else content


def _holds_truth(value: object) -> bool:
    """Whether a value, or an item of a list, is true or false: Python takes these for 1 and 0."""
    return isinstance(value, bool) or (isinstance(value, list) and any(isinstance(item, bool) for item in value))


def _key_of(loc: Sequence[int | str], content: Any) -> tuple[str, Any, Any]:
    """The key that an error's place is in, the type of its value, and the value that it has."""
    names: list[str] = []
    hint: Any = Recipe
    for part in loc:
        if not is_dataclass(hint) or part not in (hints := _hints(hint)):
            break
        names.append(str(part))
        hint = hints[str(part)]
        content = content.get(part) if isinstance(content, Mapping) else None
    return ".".join(names), hint, content


def _wrong_type(where: str, key: str, given: object, hint: Any) -> RecipeError:
    return RecipeError(f"{where}: {key} is {given!r}, but must be {allowed_words(hint)}")


def allowed_words(hint: Any) -> str:
    """What a key of this type takes, in words."""
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "text", type(None): "null"}
    plural = {int: "whole numbers", float: "numbers", str: "texts"}
    if hint in words:
        return words[hint]
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return ", ".join([allowed_words(inner[0]), *(str(one) for one in inner[1:] if isinstance(one, Range))])
    if is_dataclass(hint):
        return f"a section with keys such as {', '.join(item.name for item in fields(hint)[:3])}"
    if origin is Literal:
        return f"one of {', '.join(map(str, inner))}"
    if origin is tuple:
        return f"a list of {allowed_words(inner[0]) if get_origin(inner[0]) else plural.get(inner[0], 'values')}"
    if origin in (Union, UnionType):
        return " or ".join(allowed_words(part) for part in inner)
    return "a section of keys and values" if origin in (dict, Mapping) else "another value"


def _anchored(content: Mapping[str, Any], folder: Path | None) -> dict[str, Any]:
    """The content with paths that exist beside the recipe made absolute; other words stay as they are."""
    result: dict[str, Any] = plain(content)
    for *sections, key in (path.split(".") for path in PATHS if folder is not None):
        values: Any = result
        for section in sections:
            values = values.get(section) if isinstance(values, dict) else None
        if isinstance(values, dict) and key in values:
            values[key] = _absolute(values[key], folder)
    return result


def _absolute(word: Any, folder: Path | None) -> Any:
    """A path in `folder` made absolute, where there is one; any other value as it is."""
    if folder is None or not isinstance(word, str) or not word or word in NAMED:
        return word
    if os.path.exists(folder / word):  # noqa: PTH110  (Path.exists raises for a name that is too long for any file)
        return str((folder / word).resolve())
    return word
