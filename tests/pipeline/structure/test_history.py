"""What was cut from a model is left on it, and on every copy of it."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from secateur.core.errors import PlanError
from secateur.pipeline.models.create import create_model
from secateur.pipeline.models.spec import Origin
from secateur.pipeline.structure.classes import cut_classifier
from secateur.pipeline.structure.cutting import cut
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.history import Classes, Units, classes_of, history_of, is_plain, plan_of, steps_of
from secateur.pipeline.structure.precision import Precision
from tests.conftest import make_vit
from tests.pipeline.structure.test_surgery import random_plan

CHOSEN = Classes(5, (3, 1), ("d", "b"))


def test_a_model_from_which_nothing_was_cut_has_no_steps() -> None:
    model = make_vit()
    assert steps_of(model) == ()
    assert (plan_of(model), classes_of(model)) == (None, None)
    found = history_of(model)
    assert found.steps == ()
    assert found.shapes == found.made.shapes == {name: tuple(t.shape) for name, t in model.state_dict().items()}


def test_every_step_is_remembered_with_what_was_before_the_first() -> None:
    model = make_vit()
    some = cut_classifier(model, CHOSEN)
    groups = find_groups(some, torch.zeros(1, 3, 16, 16), verify=False)
    plan = random_plan(groups, 0, 0.5)
    small = copy.deepcopy(cut(some, groups, plan))
    assert steps_of(some) == (CHOSEN,)
    assert steps_of(small) == (CHOSEN, Units(plan, groups.adapted))
    assert (plan_of(small), classes_of(small)) == (plan, CHOSEN)
    assert steps_of(model) == ()
    found = history_of(small)
    assert found.made.shapes == history_of(model).shapes
    assert found.shapes == {name: tuple(t.shape) for name, t in small.state_dict().items()}
    origin = found.made.origin()
    assert isinstance(origin, Origin)
    assert origin.kwargs["num_classes"] == 5


def test_the_precision_of_the_traced_model_is_remembered() -> None:
    model = make_vit().double()
    groups = find_groups(model, torch.zeros(1, 3, 16, 16, dtype=torch.float64), verify=False)
    (step,) = steps_of(cut(model, groups, random_plan(groups, 0, 0.5)).float())
    assert isinstance(step, Units)
    assert step.precision == Precision("float64")


def test_a_recorded_origin_survives_every_step() -> None:
    model = create_model("test_efficientnet", num_classes=5)
    origin = history_of(cut_classifier(model, CHOSEN)).made.origin()
    assert origin == Origin("test_efficientnet", {"num_classes": 5})


@pytest.mark.parametrize(
    ("of", "kept", "names", "message"),
    [
        (5, (1,), ("a",), "name two or more"),
        (5, (1, 1), ("a", "b"), "each of them once"),
        (5, (1, 2), ("a",), "name two or more"),
        (5, (1, 5), ("a", "b"), "the classes 0 to 4, but 5 was asked"),
    ],
)
def test_classes_that_cannot_be_kept_are_refused(
    of: int, kept: tuple[int, ...], names: tuple[str, ...], message: str
) -> None:
    with pytest.raises(PlanError, match=message):
        Classes(of, kept, names)


def test_other_attributes_of_that_name_do_not_count() -> None:
    model = nn.Linear(2, 2)
    model.secateur_history = "mine"  # type: ignore[assignment]
    assert steps_of(model) == ()
    assert history_of(model).steps == ()


def test_layers_of_which_shapes_say_everything() -> None:
    plain = [nn.Linear(3, 4), nn.Conv2d(3, 4, 1), nn.Conv1d(3, 4, 1, bias=False)]
    other = [
        nn.Conv2d(3, 4, 3),
        nn.Conv2d(3, 4, 1, stride=2),
        nn.Conv2d(4, 4, 1, groups=2),
        nn.ConvTranspose2d(3, 4, 1),
    ]
    assert [is_plain(layer) for layer in plain] == [True] * 3
    assert [is_plain(layer) for layer in (*other, nn.Bilinear(2, 3, 4), nn.LayerNorm(3))] == [False] * 6
