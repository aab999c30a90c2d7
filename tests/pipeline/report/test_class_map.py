"""The map of heads and classes, and units of one class: found where they were planted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from secateur.pipeline.report.class_map import class_map, class_wise, clustered, sole_units
from secateur.pipeline.scores.score import Scores
from tests.pipeline.report.findings import row

GROUPS = [
    row("blocks.0.attn.heads", "head", 3),
    row("blocks.0.attn.v", "v_dim", 6, blocks=3),
    row("blocks.0.mlp.hidden", "mlp_hidden", 20),
    row("blocks.1.mlp.hidden", "mlp_hidden", 20),
]
NAMES = ("ant", "bee", "cat")


def random_scores() -> dict[str, np.ndarray]:
    draws = np.random.default_rng(0)
    return {group.name: 1 + 0.01 * draws.random((3, group.units)) for group in GROUPS}


def test_the_columns_are_heads_and_the_colours_their_excess() -> None:
    scores = random_scores()
    scores["blocks.0.attn.heads"][2, 1] = 3.0
    figure = class_map(GROUPS, scores, NAMES)
    assert figure is not None
    axes = figure.axes[0]
    columns = [label.get_text() for label in axes.get_xticklabels()]
    rows = [label.get_text() for label in axes.get_yticklabels()]
    assert sorted(columns) == [f"blocks.0.attn.{number}" for number in range(3)]
    assert sorted(rows) == sorted(NAMES)
    shown = np.asarray(axes.images[0].get_array())
    assert np.unravel_index(shown.argmax(), shown.shape) == (rows.index("cat"), columns.index("blocks.0.attn.1"))
    assert shown.max() == pytest.approx(1.8 / ((1 + 1 + 1.8) / 3) - 1, rel=0.02)  # the cat's mean is 5 / 3


def test_a_class_whose_scores_are_larger_everywhere_is_served_by_no_head_in_particular() -> None:
    scores = {name: np.ones_like(value) for name, value in random_scores().items()}
    for value in scores.values():
        value[1] *= 2.0
    figure = class_map(GROUPS, scores, NAMES)
    assert figure is not None
    assert np.abs(np.asarray(figure.axes[0].images[0].get_array())).max() < 1e-12


def test_without_heads_value_dims_stand_for_them_and_classes_without_images_are_left_out() -> None:
    scores = random_scores()
    scores["blocks.0.attn.v"][:, 2:4] *= -2  # signs do not count
    for value in scores.values():
        value[1] = 0
    figure = class_map(GROUPS, {name: value for name, value in scores.items() if "heads" not in name}, NAMES)
    assert figure is not None
    assert np.asarray(figure.axes[0].images[0].get_array()).shape == (2, 3)
    assert np.abs(np.asarray(figure.axes[0].images[0].get_array())).max() < 0.02
    assert class_map(GROUPS, {}, NAMES) is None
    only = class_map(GROUPS, {"blocks.1.mlp.hidden": scores["blocks.1.mlp.hidden"]}, NAMES)
    assert only is not None
    assert [label.get_text() for label in only.axes[0].get_xticklabels()] == ["blocks.1.mlp.hidden"]


def test_alike_rows_stand_side_by_side() -> None:
    rows = np.array([[0.0, 0], [9, 9], [0, 1], [9, 8]])
    order = clustered(rows).tolist()
    assert abs(order.index(0) - order.index(2)) == 1
    assert abs(order.index(1) - order.index(3)) == 1
    assert clustered(rows[:2]).tolist() == [0, 1]


def test_units_of_one_class_are_found_where_they_were_planted() -> None:
    scores = random_scores()
    for name in ("blocks.0.mlp.hidden", "blocks.1.mlp.hidden"):
        scores[name][:, 0] = 0.5  # low for every class
    scores["blocks.1.mlp.hidden"][2, 0] = -7.0  # but one, and signs do not count
    scores["blocks.0.mlp.hidden"][:, 4] = 7.0  # high for every class: not alone
    found = sole_units(GROUPS, scores)
    assert ("blocks.1.mlp.hidden", 0, 2) in found
    assert all(unit != 4 or group != "blocks.0.mlp.hidden" for group, unit, _ in found)
    assert ("blocks.0.mlp.hidden", 0, 2) not in found
    for value in scores.values():
        value[1] = 0  # a class without images changes no number
    assert ("blocks.1.mlp.hidden", 0, 2) in sole_units(GROUPS, scores)


def test_only_class_wise_scores_are_taken() -> None:
    assert class_wise(Scores({"b": torch.ones(3)}, "x")) == {}
    assert list(class_wise(Scores({"a": torch.ones(2, 3), "b": torch.ones(3)}, "x"))) == ["a"]


def test_names_that_are_long_or_formulas_are_short_lines(tmp_path: Path) -> None:
    figure = class_map(GROUPS, random_scores(), ("$\\bad{$", "a\nb", "W" * 300))
    assert figure is not None
    figure.savefig(tmp_path / "map.png")  # a formula that is none would raise here
    rows = {label.get_text() for label in figure.axes[0].get_yticklabels()}
    assert rows == {r"\$\bad{\$", r"a\nb", "W" * 47 + "…"}
