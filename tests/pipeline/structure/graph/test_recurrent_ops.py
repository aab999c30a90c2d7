"""Recurrent layers: a unit has a row for each gate, is read by the next step and layer, and goes from all of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from secateur.benchmarks.flops import count_macs
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.graph.recurrent_ops import STATE
from secateur.pipeline.structure.plan import plan_from_kept
from secateur.pipeline.structure.surgery import prune
from tests.pipeline.structure.graph.following import follow

X = torch.randn(2, 5, 3)


class Read(nn.Module):
    """A recurrent layer of three inputs, between two linear ones."""

    def __init__(self, layer: nn.Module, width: int = 6) -> None:
        super().__init__()
        self.before, self.layer, self.after = nn.Linear(3, 4), layer, nn.Linear(width, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.after(self.layer(self.before(x))[0])
        return out


class Stepped(nn.Module):
    """A cell that is called step by step, from a state at zero."""

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.before, self.layer, self.after = nn.Linear(3, 4), cell, nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        state = None
        for step in self.before(x).unbind(1):
            state = self.layer(step, state)
        out: Tensor = self.after(state[0] if isinstance(state, tuple) else state)
        return out


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "lstm": lambda: Read(nn.LSTM(4, 6, batch_first=True)),
    "gru without biases, two layers": lambda: Read(nn.GRU(4, 6, 2, bias=False, batch_first=True)),
    "rnn of rectified units in both directions": lambda: Read(
        nn.RNN(4, 6, 2, "relu", batch_first=True, bidirectional=True), 12
    ),
    "projected lstm": lambda: Read(nn.LSTM(4, 9, 2, batch_first=True, proj_size=6)),
    "lstm cell": lambda: Stepped(nn.LSTMCell(4, 6)),
    "gru cell": lambda: Stepped(nn.GRUCell(4, 6)),
    "rnn cell": lambda: Stepped(nn.RNNCell(4, 6, bias=False)),
}


@pytest.mark.parametrize("name", list(LAYERS))
def test_a_layer_with_fewer_units_is_one_made_small_from_the_start(name: str) -> None:
    torch.manual_seed(0)
    model = LAYERS[name]().eval()
    groups = find_groups(model, X)
    assert [(group.name, group.units) for group in groups] == [("before.channels", 4), ("layer.channels", 6)]
    plan = plan_from_kept(groups, {"before.channels": [0, 2, 3], "layer.channels": [1, 2, 4, 5]})
    small = prune(model, plan, groups)  # which shows that it computes what the masked one does
    layer = small.get_submodule("layer")
    assert (layer.input_size, layer.proj_size if getattr(layer, "proj_size", 0) else layer.hidden_size) == (3, 4)
    assert small.train()(X).isfinite().all()
    assert count_macs(small, X[:1]).macs == groups.macs(plan.kept)


def test_a_unit_has_a_row_for_each_gate_and_the_same_number_in_all_layers() -> None:
    found = follow(Read(nn.LSTM(4, 6, 2, bidirectional=True), 12), X)
    units = found.at("layer.weight_hh_l0", 1)
    assert len(set(units)) == 6
    assert found.at("layer.weight_ih_l0", 1) == found.at("before.weight", 0)
    for suffix in ("l0", "l0_reverse", "l1", "l1_reverse"):
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            assert found.at(f"layer.{name}_{suffix}", 0) == units * 4
        assert found.at(f"layer.weight_hh_{suffix}", 1) == units
    assert found.at("layer.weight_ih_l1", 1) == found.at("after.weight", 1) == units * 2


def test_units_whose_values_are_read_where_they_enter_a_layer() -> None:
    groups = find_groups(Read(nn.LSTM(4, 6, 2)).eval(), X, verify=False)
    assert [(site.module, site.side, site.units) for site in groups.named("before.channels").sites] == [
        ("layer", "input", (0, 1, 2, 3))
    ]
    assert [site.module for site in groups.named("layer.channels").sites] == ["after"]


class From(nn.Module):
    """A GRU whose first state is made by a function."""

    def __init__(self, state: Callable[[From, Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.layer, self.after = nn.Linear(3, 6), nn.GRU(3, 6, batch_first=True), nn.Linear(6, 2)
        self.state = state

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.after(self.layer(x, self.state(self, x))[0])
        return out


def test_what_a_state_starts_at_goes_with_its_units() -> None:
    found = follow(From(lambda model, x: model.first(x[:, 0])[None]), X)
    assert found.at("first.weight", 0) == found.at("layer.weight_hh_l0", 1)
    zeros = follow(From(lambda _, x: torch.zeros(1, len(x), 6)), X)
    assert not zeros.reason("layer.weight_hh_l0", 1)
    ones = follow(From(lambda _, x: torch.ones(1, len(x), 6)), X)
    assert ones.reason("layer.weight_hh_l0", 1) == f"layer: {STATE}"


def test_what_runs_along_the_steps_stays() -> None:
    class Turned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.layer = nn.Linear(3, 6), nn.GRU(5, 4, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.layer(self.one(x).transpose(1, 2))[0]
            return out

    assert follow(Turned(), X).reason("one.weight", 0) == "layer: a recurrent layer runs over it"
