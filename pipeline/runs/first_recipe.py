"""A recipe from a few words, and its text with a comment for every key."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from secateur.core.errors import RecipeError, near_matches
from secateur.core.options import plain_options
from secateur.core.yaml_text import parse_yaml
from secateur.pipeline.models.spec import ModelSpec
from secateur.pipeline.plan.budget import MEASURES
from secateur.pipeline.runs.keys import describe_keys, in_one_line
from secateur.pipeline.runs.recipe import make_recipe

HEAD = """\
# A recipe: `secateur run {name}` takes it through all stages.
# `secateur explain KEY` says what a key takes; what is not written here has its default.
"""
OFTEN = ("score.method", "plan.align", "plan.kinds", "recover.compensate", "export.precisions", "bench.seconds")
"""Keys that are often changed, after those that every recipe has."""


def first_recipe(model: ModelSpec, data: str, budget: str, targets: Sequence[str] = ()) -> dict[str, Any]:
    """The content of a recipe for a model, its images, and a budget such as `macs=0.5`, to be measured on `targets`.

    A budget of latency is that of the first target. Raises `RecipeError` for a budget of another form.
    """
    measure, equals, amount = budget.partition("=")
    if not equals or measure not in MEASURES:
        raise RecipeError(
            f"the budget is {budget!r}, but must be one of {', '.join(MEASURES)} with its amount, such as "
            f"macs=0.5{near_matches(measure, MEASURES)}"
        )
    try:
        value = parse_yaml(amount)
    except ValueError as error:
        raise RecipeError(f"the budget {measure} is {amount!r}, which is no number") from error
    content: dict[str, Any] = {"model": plain_options(model), "data": {"path": data}}
    content["budget"] = {measure: value}
    if measure == "latency":
        if not targets:
            raise RecipeError("a budget of latency needs the target that it is measured on: give --target")
        content["budget"]["target"] = targets[0]
    if targets:
        content["export"] = {"targets": [target for target in targets if not target.startswith("torch:")]}
        content["bench"] = {"targets": [*targets]}
    return content


def commented(content: Mapping[str, Any], name: str) -> str:
    """A recipe's content as YAML, with what each key does above it; keys that are often changed stand as comments.

    `name` is that of the file. Raises `RecipeError` for a content that is no recipe.
    """
    make_recipe(content, name)
    sections = dict.fromkeys([*content, *(key.partition(".")[0] for key in OFTEN)])
    return "\n".join([HEAD.format(name=name), *(_section(section, content.get(section, {})) for section in sections)])


def _section(section: str, content: Mapping[str, Any]) -> str:
    """A section with its keys; all of it a comment where it has none."""
    said = {key.name: key for key in describe_keys() if not key.method}
    often = [word for key in OFTEN if (word := key.removeprefix(f"{section}.")) not in (key, *content)]
    lines = [f"{section}:" if content else f"# {section}:"]
    for key in (*content, *often):
        about = said[f"{section}.{key}"]
        lines += textwrap.wrap(about.summary, 110, initial_indent="  # ", subsequent_indent="  # ")
        lines.append(f"  {key}: {in_one_line(content[key])}" if key in content else f"#   {key}: {about.default}")
    return "\n".join(lines) + "\n"
