"""A composite: which relevance rule applies to which layer, by its type and depth, and how attention is treated."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from secateur.core.errors import PlanError, near_matches
from secateur.core.files import write_text
from secateur.core.json_text import read_json_text
from secateur.core.options import options_of
from secateur.core.yaml_text import parse_yaml
from secateur.pipeline.scores.aggregate import Aggregate, check_aggregate
from secateur.pipeline.scores.lrp.attention import SOFTMAX_RULES
from secateur.pipeline.scores.lrp.rules import RULES, Rule

Depth = Literal["first", "middle", "last", "classifier"]
DEPTHS: tuple[Depth, ...] = get_args(Depth)
LayerType = Literal["convolution", "linear"]
TYPES: tuple[LayerType, ...] = get_args(LayerType)
GAMMA: dict[LayerType, float] = {"convolution": 0.25, "linear": 0.05}
"""The gammas of Pruning by eXplaining, used where `gamma` is named without a number."""
SCHEMA = "secateur.composite/1"


@dataclass(frozen=True)
class Composite:
    """The rules of the four depth groups, for convolutions and for linear layers, and the softmax rule.

    The depth groups are the first quarter, the middle half and the last quarter of all convolutions and linear
    layers in the order in which the model runs them, and the classifier: the linear layers at the end that see one
    vector for each image. `attention` is `attnlrp`, `attnlrp_z_plus` or `cp`; `aggregate` is one of `AGGREGATES`.
    """

    rules: Mapping[tuple[str, str], Rule]
    attention: str = "attnlrp"
    aggregate: Aggregate = "absolute_before"  # as the published code of Pruning by eXplaining does for linear layers

    def rule(self, depth: str, kind: str) -> Rule:
        """The rule of the layers of one depth group and type."""
        return self.rules[depth, kind]

    def plain(self) -> dict[str, Any]:
        """The composite as plain values, as `parse_composite` reads them."""
        content: dict[str, Any] = {}
        for depth in DEPTHS:
            content[depth] = {
                kind: {"rule": rule.name, **rule.parameters} if rule.parameters else rule.name
                for kind in TYPES
                for rule in [self.rule(depth, kind)]
            }
        return {**content, "attention": self.attention, "aggregate": self.aggregate}

    def save(self, path: Path, about: Mapping[str, Any] | None = None) -> None:
        """Writes the composite as YAML, or as JSON where the path ends so; `about` goes along and is not read."""
        content = {"schema": SCHEMA, **self.plain(), **({"about": dict(about)} if about else {})}
        as_json = path.suffix == ".json"
        text = json.dumps(content, indent=1) + "\n" if as_json else yaml.safe_dump(content, sort_keys=False)
        write_text(path, text)


NAMED: dict[str, dict[str, Any]] = {
    "epsilon": dict.fromkeys(DEPTHS, "epsilon"),
    "gamma": {**dict.fromkeys(DEPTHS, "gamma"), "classifier": "epsilon"},
    "z_plus": dict.fromkeys(DEPTHS, "z_plus"),
    "alpha2_beta1": dict.fromkeys(DEPTHS, "alpha_beta"),
    "epsilon_cp": {**dict.fromkeys(DEPTHS, "epsilon"), "attention": "cp"},
}
"""Composites that can be named without a file."""


def find_composite(word: str | Path | Mapping[str, Any] | Composite) -> Composite:
    """A composite by name, by the path of a YAML or JSON file, or from plain values.

    Raises `PlanError` when there is no such composite or it holds anything unknown.
    """
    if isinstance(word, Composite):
        return word
    if isinstance(word, Mapping):
        return parse_composite(word, "the composite")
    if str(word) in NAMED:
        return parse_composite(NAMED[str(word)], str(word))
    path = Path(word)
    if not path.is_file():
        raise PlanError(
            f"there is no composite {str(word)!r}: give {', '.join(NAMED)}, or the path of a file that "
            f"`secateur score --search` wrote{near_matches(str(word), NAMED)}"
        )
    try:
        is_json = path.suffix == ".json"
        content = read_json_text(path) if is_json else parse_yaml(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PlanError(f"the composite {path} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict) or content.pop("schema", SCHEMA) != SCHEMA:
        raise PlanError(f"{path} is no composite of the schema {SCHEMA!r}: make it with `secateur score --search`")
    content.pop("about", None)
    return parse_composite(content, str(path))


def parse_composite(content: Mapping[str, Any], where: str) -> Composite:
    """A checked composite from plain values; `where` names the source in errors.

    Each of `first`, `middle`, `last` and `classifier` is a rule for all layers, or `{convolution: rule, linear:
    rule}`; a rule is a name or `{rule: name, parameter: number}`. What is left out is `epsilon`.
    """
    allowed = (*DEPTHS, "attention", "aggregate")
    for key in content:
        if key not in allowed:
            raise PlanError(
                f"{where} has an unknown key {key!r}, allowed are {', '.join(allowed)}{near_matches(str(key), allowed)}"
            )
    rules: dict[tuple[str, str], Rule] = {}
    for depth in DEPTHS:
        given = content.get(depth, "epsilon")
        by_type = given if isinstance(given, Mapping) and "rule" not in given else dict.fromkeys(TYPES, given)
        for kind in by_type:
            if kind not in TYPES:
                raise PlanError(f"{where}: {depth} has {kind!r}, but the types of layers are {' and '.join(TYPES)}")
        for kind in TYPES:
            rules[depth, kind] = _rule(by_type.get(kind, "epsilon"), kind, f"{where}: {depth}")
    attention = content.get("attention", "attnlrp")
    if attention not in SOFTMAX_RULES:
        raise PlanError(f"{where}: attention is {attention!r}, but must be one of {', '.join(SOFTMAX_RULES)}")
    return Composite(rules, attention, check_aggregate(content.get("aggregate", Composite.aggregate)))


def _rule(given: object, kind: LayerType, where: str) -> Rule:
    content = {"rule": given} if isinstance(given, str) else given
    if not isinstance(content, Mapping) or not isinstance(content.get("rule"), str):
        raise PlanError(
            f"{where} is {given!r}, but must be a rule's name or a mapping such as {{rule: gamma, gamma: 0.1}}"
        )
    name = content["rule"]
    own = {"gamma": GAMMA[kind]} if name == "gamma" else {}
    parameters = {key: value for key, value in content.items() if key != "rule"}
    return options_of(RULES.find(name), {**own, **parameters}, f"{where}: {name}")
