"""Costs in units of groups: equal to PyTorch's own count, for the dense model and for any pruned one."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from secateur.benchmarks.flops import count_macs
from secateur.pipeline.plan.budget import Budget
from secateur.pipeline.plan.make import make_plan
from secateur.pipeline.scores.score import score
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.graph.build_groups import build_groups
from secateur.pipeline.structure.graph.components import components_of
from secateur.pipeline.structure.graph.terms import norms_of, terms_of
from secateur.pipeline.structure.graph.tracer import trace_model
from secateur.pipeline.structure.plan import plan_from_kept
from secateur.pipeline.structure.surgery import prune, verify
from tests.counting import torch_macs
from tests.later import mostly_nightly

EXAMPLE = torch.randn(1, 3, 8, 8)
SMALL = torch.randn(1, 3, 4, 4)
MODEL = nn.Sequential(
    *(nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(1, 8), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 6, 1, stride=2)),
    *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 10), nn.LayerNorm(10), nn.Linear(10, 5)),
).eval()
GROUPS = find_groups(MODEL, EXAMPLE)
OF_TIMM = [name for name in timm.list_models("test_*") if not name[-1].isdigit()]
LONG = ("test_maxvit", "test_coatnet", "test_efficientnet_evos", "test_efficientnet_gn", "test_mambaout")
"""Small models whose kinds of layers others of timm's have too."""


@settings(max_examples=10, deadline=None)
@given(st.data())
def test_any_plan_costs_what_pytorch_counts(data: st.DataObject) -> None:
    kept = {
        group.name: sorted(data.draw(st.sets(st.integers(0, group.units - 1), min_size=2), label=group.name))
        for group in GROUPS
    }
    plan = plan_from_kept(GROUPS, kept)
    assert GROUPS.macs(plan.kept) == pytest.approx(torch_macs(prune(MODEL, plan, GROUPS), EXAMPLE))


def test_the_dense_model_costs_what_pytorch_counts() -> None:
    assert GROUPS.macs() == pytest.approx(torch_macs(MODEL, EXAMPLE))


def test_costs_are_those_of_one_sample_and_have_the_axes_of_groups_only() -> None:
    trace = trace_model(MODEL, EXAMPLE)
    components = components_of(trace)
    built = build_groups(MODEL, trace, components)
    terms = {term.name: term for term in terms_of(trace, components, built.units)}
    assert terms["0"].macs == 3 * 9 * 64 and [axis.size for axis in terms["0"].axes] == [8]
    assert sorted(axis.size for axis in terms["3"].axes) == [6, 8]
    assert [axis.size for axis in terms["8"].axes] == [10]


def test_widths_of_normalisations_are_axes_of_their_groups() -> None:
    trace = trace_model(MODEL, EXAMPLE)
    components = components_of(trace)
    built = build_groups(MODEL, trace, components)
    norms = norms_of(trace, components, built)
    assert {name: axis.size for name, axis in norms.items()} == {"1": 8, "7": 10}
    names = [group.name for group in built.groups if group.units == 8]
    assert [name for name, _ in norms["1"].members] == names
    assert norms["1"].positions({names[0]: (1, 5)}).tolist() == [index in (1, 5) for index in range(8)]
    assert norms["7"].positions({}).all()


class NormedHeads(nn.Module):
    """Attention of two heads whose queries and keys are normalised per head, by one module for both."""

    def __init__(self, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(12, 12) for _ in range(4))
        self.q_norm, self.k_norm = norm(6), norm(6)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part(x).unflatten(-1, (-1, 6)).transpose(1, 2) for part in (self.q, self.k, self.v))
        mixed = (self.q_norm(q) @ self.k_norm(k).mT).softmax(-1) @ v
        found: Tensor = x + self.out(mixed.transpose(1, 2).flatten(2))
        return found


@pytest.mark.parametrize("norm", [nn.LayerNorm, nn.RMSNorm])
@pytest.mark.parametrize("stays", [0, 1])
def test_what_normalises_every_head_keeps_its_width_when_heads_go(norm: Callable[[int], nn.Module], stays: int) -> None:
    model, x = NormedHeads(norm), torch.randn(2, 5, 12)
    groups = find_groups(model, x)
    assert {axis.members for axis in groups.norms.values()} == {(("q.qk", (0, 1, 2, 3, 4, 5)),)}
    plan = plan_from_kept(groups, {"v.heads": [stays], "q.qk": [1, 2, 5]})
    small = prune(model, plan, groups)
    assert verify(small, model, plan, groups).unverifiable == ()


class Doubled(nn.Module):
    """Every unit is read twice."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 6), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.one(x)
        out: Tensor = self.two(torch.cat([x, x], -1))
        return out


def test_a_unit_that_is_read_twice_counts_twice() -> None:
    groups = find_groups(Doubled().eval(), torch.randn(1, 4))
    (group,) = groups
    units = np.array(next(part.units for part in group.slices if part.role == "in"))
    assert np.array_equal(units, [*range(6), *range(6)])
    assert groups.macs({group.name: (0, 1)}) == 2 * 4 + 4 * 3


@pytest.mark.parametrize("name", mostly_nightly(OF_TIMM, [name for name in OF_TIMM if name not in LONG]))
def test_groups_fvcore_and_torch_agree_on_the_small_models_of_timm(name: str) -> None:
    model = timm.create_model(name).eval()
    example = torch.randn(1, *model.default_cfg["input_size"])
    groups, counted = find_groups(model, example, verify=False), count_macs(model, example)
    assert not groups.uncounted and not counted.unsupported
    assert groups.macs() == pytest.approx(counted.macs, rel=0.001)
    assert torch_macs(model, example) == pytest.approx(counted.macs, rel=0.001)


class Around(nn.Module):
    """Two convolutions, an operation on what they make as tokens `[B, 16, 16]`, and a head."""

    def __init__(self, operation: Callable[[Around, Tensor], Tensor], layer: nn.Module | None = None) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.wide, self.narrow = nn.Parameter(torch.randn(16, 12)), nn.Parameter(torch.randn(6, 16))
        self.operation, self.layer = operation, layer
        self.head: nn.Module = nn.Identity()
        with torch.no_grad():
            self.head = nn.Linear(self(SMALL).shape[1], 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.two(self.one(x).relu()).flatten(2).transpose(1, 2)
        out: Tensor = self.head(self.operation(self, x).flatten(1))
        return out


def layered(_model: Around, x: Tensor) -> Tensor:
    """The module's own layer."""
    assert _model.layer is not None
    out = _model.layer(x)
    return out[0] if isinstance(out, tuple) else out


OPERATIONS: dict[str, tuple[Callable[[Around, Tensor], Tensor], nn.Module | None]] = {
    "gru": (layered, nn.GRU(16, 8, batch_first=True, bidirectional=True)),
    "lstm": (layered, nn.LSTM(16, 8, 2, batch_first=True, proj_size=4)),
    "rnn": (layered, nn.RNN(16, 8, batch_first=True)),
    "lstm cell": (lambda model, x: layered(model, x[:, 0]), nn.LSTMCell(16, 8)),
    "gru cell": (lambda model, x: layered(model, x[:, 0]), nn.GRUCell(16, 8)),
    "multi-head attention": (lambda model, x: model.layer(x, x, x)[0], nn.MultiheadAttention(16, 4, batch_first=True)),  # type: ignore[misc]  # it is there
    "encoder layer": (layered, nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)),
    "einsum": (lambda model, x: torch.einsum("bnk,km->bnm", x, model.wide), None),
    "einsum with an ellipsis": (lambda model, x: torch.einsum("...k,km->...m", x, model.wide), None),
    "einsum without an arrow": (lambda model, x: torch.einsum("bnk,km", x, model.wide), None),
    "einsum of three": (lambda _, x: torch.einsum("bnk,bmk,bmj->bnj", x, x, x), None),
    "einsum without a sum": (lambda model, x: torch.einsum("bnk,k->bnk", x, model.narrow[0]), None),
    "einsum of a diagonal": (lambda _, x: torch.einsum("bkk,bnk->bn", x[:, :16], x), None),
    "a bare parameter": (lambda model, x: x @ model.wide, None),
    "a bare parameter before": (lambda model, x: model.narrow @ x.transpose(1, 2), None),
    "parameters alone": (lambda model, x: x @ (model.wide @ model.wide.T), None),
    "addmm": (lambda model, x: torch.addmm(model.wide[0], x.flatten(0, 1), model.wide).reshape(len(x), -1), None),
    "baddbmm": (lambda _, x: torch.baddbmm(torch.zeros(1), x, x.transpose(1, 2)), None),
    "tensordot": (lambda model, x: torch.tensordot(x, model.wide, 1), None),
    "a layer without a batch": (lambda model, x: F.linear(x, model.layer(model.narrow)), nn.Linear(16, 16)),  # type: ignore[misc]  # it is there
    "a bias from a table": (
        lambda model, x: x + layered(model, torch.linspace(0, 1, 16)[:, None]),
        nn.Sequential(nn.Linear(1, 32), nn.ReLU(), nn.Linear(32, 16)),
    ),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_groups_fvcore_and_torch_agree_on_operations(name: str) -> None:
    torch.manual_seed(0)
    model = Around(*OPERATIONS[name]).eval()
    groups, counted = find_groups(model, SMALL, verify=False), count_macs(model, SMALL)
    assert not groups.uncounted and not counted.unsupported
    assert groups.macs() == pytest.approx(counted.macs, rel=1e-9)
    assert torch_macs(model, SMALL) == pytest.approx(counted.macs, rel=1e-9)


def test_products_with_a_vector_are_counted_though_torch_leaves_them_out() -> None:
    plain, vector = Around(lambda _, x: x[..., 0]).eval(), Around(lambda model, x: x @ model.narrow[0]).eval()
    for count in (lambda m: find_groups(m, SMALL, verify=False).macs(), lambda m: count_macs(m, SMALL).macs):
        assert count(vector) - count(plain) == 16 * 16


def test_a_budget_of_a_recurrent_model_is_met_by_fvcores_count() -> None:
    torch.manual_seed(0)
    model = Around(*OPERATIONS["gru"]).eval()
    groups = find_groups(model, SMALL)
    plan = make_plan(groups, score(model, groups, [], method="magnitude"), Budget(macs=0.6), align=1)
    small = prune(model, plan, groups)
    share = count_macs(small, SMALL).macs / count_macs(model, SMALL).macs
    assert share == pytest.approx(groups.macs(plan.kept) / groups.macs())
    assert 0.5 < share <= 0.6


@pytest.mark.parametrize(
    "operation", [lambda model, x: torch.cdist(x, model.narrow[None]), lambda _, x: torch.fft.irfft(torch.fft.rfft(x))]
)
def test_distances_and_fourier_transforms_cost_what_fvcores_analysis_finds(
    operation: Callable[[Around, Tensor], Tensor],
) -> None:
    model = Around(operation).eval()
    groups = find_groups(model, SMALL, verify=False)
    assert groups.uncounted == () and groups.macs() == count_macs(model, SMALL).macs


@pytest.mark.parametrize(
    ("operation", "name"),
    [
        (lambda _, x: torch.linalg.matrix_exp(x.mT @ x), "linalg_matrix_exp"),
        (lambda _, x: torch.linalg.pinv(x).mT, "linalg_pinv"),
    ],
)
def test_what_nobody_knows_the_cost_of_is_said(
    operation: Callable[[Around, Tensor], Tensor], name: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = Around(operation).eval()
    groups = find_groups(model, SMALL, verify=False)
    assert groups.uncounted == (f"aten::{name} in the model itself",)
    assert list(count_macs(model, SMALL).unsupported) == [f"aten::{name}"]
    with caplog.at_level(logging.WARNING):
        make_plan(groups, score(model, groups, [], method="magnitude"), Budget(macs=0.9), align=1)
    assert f"the budget leaves out operations that may carry MACs: aten::{name}" in caplog.text
