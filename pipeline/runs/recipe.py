"""Recipes: what a run does, as frozen dataclasses that refuse unknown keys, read from YAML and `key=value` words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, field, fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from secateur.benchmarks.spec import BenchSpec
from secateur.core.errors import RecipeError, near_matches
from secateur.export.spec import ExportSpec
from secateur.pipeline.analysis.spec import ReportSpec
from secateur.pipeline.data.spec import DataSpec
from secateur.pipeline.models.spec import ModelSpec
from secateur.pipeline.plan.budget import Budget, clear_other_measures
from secateur.pipeline.plan.evolution_spec import EvolutionSpec
from secateur.pipeline.plan.make import DEFAULT_KINDS
from secateur.pipeline.plan.xpruner_spec import XprunerSpec
from secateur.pipeline.recover.distill_spec import DistillSpec

STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=STRICT)
class ScoreSpec:
    """How units are scored: `samples_per_class` calibration images of each class (0: all), seeded."""

    method: str = "taylor"
    samples_per_class: int = 10
    batch_size: int = 32
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, config=STRICT)
class PlanSpec:
    """How the budget is shared out; see `plan.make.make_plan`."""

    allocate: str = "global"
    align: int = 8
    kinds: tuple[str, ...] = DEFAULT_KINDS
    skip: tuple[str, ...] = ()
    least: int | None = None
    evolution: EvolutionSpec = EvolutionSpec()
    xpruner: XprunerSpec = XprunerSpec()


@dataclass(frozen=True, config=STRICT)
class RecoverSpec:
    """How the rest is repaired: ridge compensation over `samples_per_class` images of each class (0: all).

    Without a `ridge`, images held out choose it for each layer. `front_to_back` adapts transformers to their own
    pruned inputs. Then the result is distilled for `distill.epochs`.
    """

    compensate: bool = True
    ridge: float | None = None
    front_to_back: bool = True
    distill: DistillSpec = DistillSpec()
    samples_per_class: int = 0
    batch_size: int = 32


@dataclass(frozen=True, config=STRICT)
class Recipe:
    """Everything that a run needs to know; every key has a default but the model, the data and the budget.

    With `classes`, the model is specialised to these: its classifier is cut to them, and only their images count.
    """

    model: ModelSpec
    data: DataSpec
    budget: Budget
    score: ScoreSpec = ScoreSpec()
    plan: PlanSpec = PlanSpec()
    recover: RecoverSpec = RecoverSpec()
    export: ExportSpec = ExportSpec()
    bench: BenchSpec = BenchSpec()
    report: ReportSpec = ReportSpec()
    classes: tuple[str, ...] = ()
    seed: int = 0

    def to_yaml(self) -> str:
        """The recipe as YAML, with every default written out."""
        return yaml.safe_dump(plain(self), sort_keys=False)


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
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"cannot read the recipe {path}: {error.strerror or error}; give a YAML file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise RecipeError(f"{path} holds a {type(content).__name__}, but a recipe has keys such as model, data, budget")
    return make_recipe(apply_settings(content, settings), str(path), Path(path).resolve().parent)


def apply_settings(content: Mapping[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """A copy of a recipe's content with `key.sub=value` settings applied; values are read as YAML."""
    changed: dict[str, Any] = plain(content)
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key:
            raise RecipeError(f"--set got {setting!r}, but needs key=value, such as budget.macs=0.4")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise RecipeError(f"--set {key} got {text!r}, which is not valid YAML") from error
        *parents, last = key.split(".")
        place = changed
        for parent in parents:
            inner = place.setdefault(parent, {})
            if not isinstance(inner, dict):
                raise RecipeError(f"--set got {setting!r}, but {parent!r} is a value, not a section of the recipe")
            place = inner
        if parents == ["budget"] and value is not None:
            clear_other_measures(place, last)
        place[last] = value
    return changed


def make_recipe(content: Mapping[str, Any], where: str, folder: Path | None = None) -> Recipe:
    """A recipe from its content; `where` names the source in errors, `folder` anchors relative paths."""
    _check_keys(content, Recipe, where, "")
    try:
        recipe = TypeAdapter(Recipe).validate_python(_anchored(content, folder))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        if first["type"] == "missing":
            raise RecipeError(
                f"{where} lacks the key {place!r}: every recipe needs model.name, data and budget"
            ) from None
        raise RecipeError(f"{where}: {place} is {first['input']!r}: {first['msg']}") from None
    return recipe


def _check_keys(content: Mapping[str, Any], kind: Any, where: str, place: str) -> None:
    """Refuses unknown keys, with near matches, at any depth."""
    hints = get_type_hints(kind)
    allowed = [item.name for item in fields(kind)]
    for key, value in content.items():
        if key not in allowed:
            raise RecipeError(
                f"{where} has an unknown key {place + str(key)!r}{near_matches(str(key), allowed)}; "
                f"allowed here: {', '.join(allowed)}"
            )
        if is_dataclass(hints[key]) and isinstance(value, Mapping):
            _check_keys(value, hints[key], where, f"{place}{key}.")


def _anchored(content: Mapping[str, Any], folder: Path | None) -> dict[str, Any]:
    """The content with paths that exist beside the recipe made absolute; other words stay as they are."""
    result: dict[str, Any] = plain(content)
    if folder is None:
        return result
    for section, keys in (("model", ("weights",)), ("data", ("path", "calibration", "evaluation"))):
        values = result.get(section)
        if not isinstance(values, dict):
            continue
        for key in keys:
            word = values.get(key)
            if isinstance(word, str) and word and not Path(word).is_absolute() and (folder / word).exists():
                values[key] = str((folder / word).resolve())
    return result
