"""Kinds, names and families of groups."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.graph.components import Place, components_of
from secateur.pipeline.structure.graph.naming import family_of, kind_of, name_of
from secateur.pipeline.structure.graph.tracer import trace_model
from tests.pipeline.structure.graph.attentions import ATTENTIONS, IMAGE, ScoresDetached, made


class Mlp(nn.Module):
    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(8, hidden), nn.Linear(hidden, 8)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down(self.up(x).relu())
        return out


class Mixed(nn.Module):
    """A stream, three MLPs in it, a convolution before them."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 4, 4)
        self.one, self.two, self.three = Mlp(12), Mlp(12), Mlp(6)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        for mlp in (self.one, self.two, self.three):
            x = x + mlp(x)
        out: Tensor = self.head(x.mean(1))
        return out


def test_groups_are_called_by_what_makes_them() -> None:
    groups = find_groups(Mixed().eval(), torch.randn(1, 3, 8, 8))
    assert {group.name: group.kind for group in groups} == {
        "patch.width": "width",
        "one.hidden": "mlp_hidden",
        "two.hidden": "mlp_hidden",
        "three.hidden": "mlp_hidden",
    }
    families = {group.name: group.family for group in groups}
    assert families["one.hidden"] == families["two.hidden"] != families["three.hidden"]
    assert all(family.startswith(f"{groups.named(name).kind}:") for name, family in families.items())


def test_kinds_follow_from_the_layers_around_and_from_where_units_were_seen() -> None:
    model = nn.Sequential(nn.Conv1d(3, 6, 1), nn.ReLU(), nn.Conv1d(6, 6, 1), nn.Flatten(), nn.Linear(24, 5))
    trace = trace_model(model, torch.randn(1, 3, 4))
    components = components_of(trace)

    def kind(*places: Place) -> str:
        return kind_of(model, trace, components, int(components.at[places[0]][0]), places)

    assert kind(("0.weight", 0), ("2.weight", 1)) == "channel"
    assert kind(("4.weight", 0), ("4.bias", 0)) == "channel", "nothing reads what the last layer makes"
    trace.coupling.mark(trace.tensors["0.weight"][0], "value")  # type: ignore[arg-type]  # it has a length
    components = components_of(trace)
    assert kind(("0.weight", 0), ("2.weight", 1)) == "v_dim"
    trace.coupling.mark(trace.tensors["0.weight"][0], "query_key")  # type: ignore[arg-type]  # it has a length
    components = components_of(trace)
    assert kind(("0.weight", 0), ("2.weight", 1)) == "v_dim", "a layer reads it beside the scores"
    assert kind(("0.weight", 0)) == "qk_dim"


def test_a_name_that_is_taken_is_told_from_the_new_one() -> None:
    trace = trace_model(nn.Sequential(Mlp(6)), torch.randn(1, 8))
    places = [("0.up.weight", 0), ("0.down.weight", 1)]
    names: list[str] = []
    for _ in range(3):
        names.append(name_of(trace, places, "mlp_hidden", set(names)))
    assert names == ["0.hidden", "0.up.hidden", "0.up.hidden.2"]


def test_what_no_layer_makes_is_called_by_the_module_that_has_it() -> None:
    trace = trace_model(nn.Sequential(Mlp(6)), torch.randn(1, 8))
    assert name_of(trace, [("0.down.weight", 1)], "channel", set()) == "0.down.channels"


def test_families_are_equal_for_tensors_of_equal_shapes_in_any_order() -> None:
    trace = trace_model(nn.Sequential(Mlp(6), Mlp(6), Mlp(7)), torch.randn(1, 8))

    def family(number: int, *names: str) -> str:
        return family_of(trace, "mlp_hidden", [(f"{number}.{name}", int("down" in name)) for name in names])

    assert family(0, "up.weight", "down.weight") == family(1, "down.weight", "up.weight")
    assert family(0, "up.weight", "down.weight") != family(2, "up.weight", "down.weight")
    assert family(0, "up.weight") != family(0, "up.weight", "down.weight")


WITHOUT_SCORES = (
    *("linear", "several scales", "several scales of wide heads"),
    *("padded", "learned queries", "of other tokens"),
)
"""Attentions that make no scores, or whose scores PyTorch's own function keeps to itself."""


@pytest.mark.parametrize("name", [name for name in ATTENTIONS if name not in WITHOUT_SCORES])
def test_query_and_key_dimensions_reach_the_output_by_the_scores_alone(name: str) -> None:
    model = made(name)
    groups = find_groups(model, IMAGE, verify=False)
    with ScoresDetached():
        model(torch.randn(2, *IMAGE.shape[1:])).square().sum().backward()
    through = {"qk_dim": 0, "v_dim": 0}
    for group in groups:
        for part in group.slices:
            grad = model.get_parameter(part.tensor).grad if group.kind in through else None
            if grad is not None:
                rows = grad.movedim(part.dim, 0)[[unit >= 0 for unit in part.units]]
                through[group.kind] += int(rows.abs().sum() > 0)
    assert through["qk_dim"] == 0 < through["v_dim"]
