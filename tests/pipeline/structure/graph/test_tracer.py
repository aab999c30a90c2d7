"""The tracer: parameters, buffers and constants come in with their labels, and go on through any graph."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.pipeline.structure.find import find_fixed, find_groups
from secateur.pipeline.structure.graph.trace import OUTPUT
from secateur.pipeline.structure.graph.tracer import UNUSED, trace_model
from secateur.pipeline.structure.plan import plan_from_kept
from secateur.pipeline.structure.surgery import prune
from tests.pipeline.structure.graph.following import follow, of


def test_an_unknown_operation_keeps_all_that_goes_into_it() -> None:
    found = of(lambda p, x: torch.linalg.inv(p), (4, 4))
    assert "cannot follow" in found.reason("p0", 0) and "cannot follow" in found.reason("p0", 1)


def test_what_the_model_returns_stays() -> None:
    trace = trace_model(nn.Linear(3, 4), torch.randn(1, 3))
    components = trace.coupling.components()
    made = trace.tensors["weight"][0]
    assert made is not None
    reasons = trace.coupling.reasons(components)
    assert {reasons[int(components[label])] for label in made.tolist()} == {OUTPUT}


class Tied(nn.Module):
    """One weight under two names, and a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
        self.two.weight = self.one.weight
        self.register_buffer("shift", torch.randn(4))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.two(self.one(x) + self.shift)
        return out


def test_a_tensor_of_two_names_has_one_set_of_labels_and_buffers_have_some() -> None:
    found = follow(Tied(), torch.randn(1, 4))
    assert set(found.trace.tensors) == {"one.weight", "shift"}
    assert found.at("shift", 0) == found.at("one.weight", 0) == found.at("one.weight", 1)
    assert set(found.trace.names.values()) == {"one.weight", "shift"}


def test_numbers_that_depend_on_nothing_are_known() -> None:
    def function(p: Tensor, x: Tensor) -> Tensor:
        index = torch.arange(6).flip(0)[::2]
        return p[:, index]

    found = of(function, (4, 6))
    assert found.along(0, 1) == [found.at("p0", 1)[number] for number in (5, 3, 1)]


def test_lengths_are_numbers_and_may_be_computed_with() -> None:
    found = of(lambda p, x: p.reshape(p.shape[0] // 2, 2 * p.shape[1]).expand(len(x), 2, 12), (4, 6))
    assert found.results[0].shape == (2, 2, 12)
    assert not found.reason("p0", 0)


def test_what_is_written_in_place_is_what_is_read_afterwards() -> None:
    def function(p: Tensor, q: Tensor, x: Tensor) -> Tensor:
        y = x @ p
        y.add_(q)
        return y * 1.0

    found = of(function, (2, 6), (6,))
    assert found.at("p0", 1) == found.at("p1", 0) == found.along(0, 1)


class Autocast(nn.Module):
    """A part of the graph is a graph of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 6), nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            x = self.one(x).relu()
        out: Tensor = self.two(x)
        return out


def test_a_graph_within_the_graph_is_followed() -> None:
    found = follow(Autocast(), torch.randn(1, 4))
    targets = {str(node.target) for node in found.trace.values if node.op == "call_function"}
    assert any("autocast_of" in target for target in targets), "the example no longer shows what it should"
    assert found.at("one.weight", 0) == found.at("two.weight", 1)
    assert found.trace.owners == {"one.weight": "one", "two.weight": "two"}
    assert {dim for name, dim in found.trace.roles if name == "one.weight"} == {0, 1}


class Stream(nn.Module):
    """What was computed from a value is added to it in a graph of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 6), nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.one(x)
        y = self.two(x)
        with torch.autocast("cpu", enabled=False):
            return x + y


def test_a_graph_within_the_graph_is_computed_from_what_it_is_given() -> None:
    found = follow(Stream(), torch.randn(1, 4))
    assert found.marks("width") == set(found.at("one.weight", 0)) == set(found.at("two.weight", 0))


def test_a_stream_may_begin_with_the_input() -> None:
    found = of(lambda p, x: x + x @ p, (2, 2))
    assert found.reason("p0", 1), "the input has a width that stays"


def test_only_normalisations_with_a_width_are_noted() -> None:
    model = nn.Sequential(nn.Linear(3, 8), nn.LayerNorm(8), nn.Linear(8, 8), nn.GroupNorm(2, 8))
    assert set(trace_model(model, torch.randn(1, 3)).norms) == {"1"}


class Auxiliary(nn.Module):
    """A head that only training uses, and one that nothing does."""

    def __init__(self, untraceable: bool = False) -> None:
        super().__init__()
        self.one, self.norm, self.two = nn.Conv2d(3, 6, 1), nn.BatchNorm2d(6), nn.Conv2d(6, 4, 1)
        self.aux, self.last = nn.Conv2d(6, 5, 1), nn.Conv2d(5, 2, 1)
        self.never = nn.Linear(7, 3)
        self.untraceable = untraceable
        self.register_buffer("runs", torch.zeros((), dtype=torch.long))

    def forward(self, x: Tensor) -> Any:
        self.runs += 1
        x = F.dropout(self.norm(self.one(x)), 0.5, self.training)
        if not self.training:
            return self.two(x)
        if self.untraceable and float(x.sum()) > 0:
            x = x * 2
        return self.two(x), self.last(self.aux(x).relu())


EXAMPLE = torch.randn(1, 3, 4, 4)


def test_what_only_training_reads_goes_with_what_it_is_made_of() -> None:
    found = follow(Auxiliary(), EXAMPLE)
    assert found.at("one.weight", 0) == found.at("two.weight", 1) == found.at("aux.weight", 1)
    assert found.at("aux.weight", 0) == found.at("last.weight", 1)
    assert found.trace.roles["aux.weight", 1] == "in"
    assert not {"aux.weight", "last.weight"} & set(found.trace.owners), "no hook would ever see them called"
    assert "aux" not in {cost.module for cost in found.trace.costs}
    assert not found.reason("one.weight", 0)


def test_weights_that_nothing_reads_are_known() -> None:
    assert follow(Auxiliary(), EXAMPLE).trace.unread == {"never.weight": UNUSED}
    untraced = follow(Auxiliary(untraceable=True), EXAMPLE).trace.unread
    assert set(untraced) == {"never.weight", "aux.weight", "last.weight"}
    assert "in training only, which cannot be traced" in untraced["aux.weight"]
    assert follow(Tied(), torch.randn(1, 4)).trace.unread == {}


def test_tracing_changes_no_number_of_the_model() -> None:
    model = Auxiliary().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    trace_model(model, EXAMPLE)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(module.training for module in model.modules())


def test_a_pruned_model_still_trains_its_auxiliary_head() -> None:
    torch.manual_seed(0)
    model = Auxiliary().eval()
    groups = find_groups(model, EXAMPLE)
    assert [group.name for group in groups] == ["one.channels"]
    assert {(one.name, one.units) for one in groups.fixed} == {("aux.channels", 5), ("never.channels", 3)}
    small = prune(model, plan_from_kept(groups, {"one.channels": (0, 2, 5)}), groups)
    assert small.get_submodule("aux").weight.shape == (5, 3, 1, 1)
    one, two = small.train()(EXAMPLE)
    assert (one.shape, two.shape) == ((1, 4, 4, 4), (1, 2, 4, 4))


def test_a_function_of_the_batch_alone_has_no_labels() -> None:
    found = of(lambda p, x: F.pad(x, (0, 4)) @ p, (6, 5))
    assert found.reason("p0", 0)
    assert not found.reason("p0", 1)


class Looked(nn.Module):
    """A hidden width whose softmax is read, or computed and left."""

    def __init__(self, read: bool) -> None:
        super().__init__()
        self.one, self.two, self.read = nn.Linear(4, 6), nn.Linear(6, 3), read

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.one(x)
        shares = hidden.softmax(-1)
        out: Tensor = self.two(shares if self.read else hidden)
        return out


def test_what_nobody_reads_keeps_nothing() -> None:
    (group,) = find_groups(Looked(read=False), torch.randn(1, 4))
    assert group.units == 6
    assert find_fixed(Looked(read=True), torch.randn(1, 4))[0].reason == "the model itself: softmax runs over it"
