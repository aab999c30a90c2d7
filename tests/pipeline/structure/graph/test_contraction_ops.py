"""Sums of products: what is summed over goes together, what is left is what the operands had, and costs add up."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from secateur.benchmarks.mac_handlers import einsum_macs
from secateur.pipeline.structure.graph.program import SAMPLES
from tests.counting import torch_macs
from tests.pipeline.structure.graph.following import follow, of

LENGTHS = {"a": 2, "b": 3, "c": 4, "d": 5}


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.sampled_from("abcd"), min_size=1, max_size=4, unique=True),
    st.lists(st.sampled_from("abcd"), min_size=1, max_size=4, unique=True),
    st.randoms(use_true_random=False),
)
def test_einsum_ties_positions_of_one_letter(one: list[str], two: list[str], random: Random) -> None:
    letters = sorted(set(one) | set(two))
    output = [letter for letter in letters if random.random() < 0.6]
    random.shuffle(output)
    equation = f"{''.join(one)},{''.join(two)}->{''.join(output)}"
    shapes = [tuple(LENGTHS[letter] for letter in operand) for operand in (one, two)]
    found = of(lambda p, q, x: torch.einsum(equation, p, q), *shapes)
    seen: set[int] = set()
    for letter in letters:
        places = [(f"p{i}", operand.index(letter)) for i, operand in enumerate((one, two)) if letter in operand]
        components = found.at(*places[0])
        assert all(found.at(*place) == components for place in places)
        assert len(set(components)) == LENGTHS[letter]
        assert not seen & set(components)
        seen |= set(components)
        if letter in output:
            assert found.along(0, output.index(letter)) == components
    # a product of parameters alone is done once for all samples
    assert sum(cost.macs for cost in found.trace.costs) == SAMPLES * einsum_macs(equation, shapes)


def test_an_ellipsis_stands_for_dimensions_and_a_diagonal_is_not_followed() -> None:
    found = of(lambda p, q, x: torch.einsum("...a,...a->...", p, q), (2, 3), (2, 3))
    assert found.at("p0", 1) == found.at("p1", 1) and found.at("p0", 0) == found.at("p1", 0)
    found = of(lambda p, q, x: torch.einsum("aa,ab->b", p, q), (3, 3), (3, 2))
    assert "cannot follow" in found.reason("p0", 1) and "cannot follow" in found.reason("p1", 1)


@pytest.mark.parametrize("equation", ["bnc,bc->bnc", "bnc,bnc->bnc", "bnc->bc"])
def test_factors_and_sums_of_single_tensors_are_no_attention(equation: str) -> None:
    def product(p: Tensor, x: Tensor) -> Tensor:
        y = x @ p
        factors = [y, y.mean(1)] if "bc-" in equation else [y, y.relu()]
        return torch.einsum(equation, *factors[: equation.count(",") + 1])

    found = of(product, (4, 6), example=torch.zeros(1, 5, 4))
    assert found.trace.heads == []


def test_a_bilinear_layer_reads_both_inputs_and_makes() -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.pair = nn.Linear(3, 6), nn.Linear(3, 4), nn.Bilinear(6, 4, 5)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.pair(self.one(x), self.two(x))
            return out

    found = follow(Pair(), torch.randn(1, 7, 3))
    assert found.at("pair.weight", 1) == found.at("one.weight", 0)
    assert found.at("pair.weight", 2) == found.at("two.weight", 0)
    assert found.along(0, 2) == found.at("pair.weight", 0) == found.at("pair.bias", 0)
    roles = found.trace.roles
    assert [roles["pair.weight", dim] for dim in range(3)] == ["out", "in", "in"] and roles["pair.bias", 0] == "out"
    assert sum(cost.macs for cost in found.trace.costs) == SAMPLES * 7 * (3 * 6 + 3 * 4 + 6 * 4 * 5)


def test_a_product_that_is_added_is_followed_as_the_product() -> None:
    example = torch.zeros(2, 3)
    found = of(lambda p, q, b, x: torch.addmm(b, p, q), (2, 3), (3, 4), (4,), example=example)
    assert found.at("p0", 1) == found.at("p1", 0) and found.at("p2", 0) == found.at("p1", 1) == found.along(0, 1)
    batched = of(lambda p, q, x: torch.baddbmm(x[:, None, :1], p, q), (2, 3, 4), (2, 4, 5), example=example)
    assert batched.at("p0", 2) == batched.at("p1", 1)
    assert [batched.along(0, dim) for dim in (1, 2)] == [batched.at("p0", 1), batched.at("p1", 2)]


def test_grouped_queries_meet_the_keys_and_values_that_they_share() -> None:
    def attended(q: Tensor, k: Tensor, v: Tensor, x: Tensor, fused: bool) -> Tensor:
        if fused:
            return F.scaled_dot_product_attention(q, k, v, enable_gqa=True)
        k, v = (part.repeat_interleave(2, 1) for part in (k, v))
        return F.scaled_dot_product_attention(q, k, v)

    shapes = (1, 4, 7, 3), (1, 2, 7, 3), (1, 2, 7, 5)
    one, two = (of(lambda *given, fused=fused: attended(*given, fused), *shapes) for fused in (True, False))
    places = [(f"p{tensor}", dim) for tensor in range(3) for dim in (1, 3)]
    assert [one.at(*place) for place in places] == [two.at(*place) for place in places]
    assert sum(cost.macs for cost in one.trace.costs) == SAMPLES * 4 * 7 * 7 * (3 + 5)


def test_matrix_products_align_their_dimensions_from_the_end() -> None:
    found = of(lambda p, q, x: p @ q, (2, 3, 4), (4, 5))
    assert found.at("p0", 2) == found.at("p1", 0)
    assert [found.along(0, dim) for dim in range(3)] == [found.at("p0", 0), found.at("p0", 1), found.at("p1", 1)]
    assert [cost.macs for cost in found.trace.costs] == [SAMPLES * 2 * 3 * 4 * 5]


def test_batched_products_tie_their_batch_dimensions() -> None:
    found = of(lambda p, q, x: torch.bmm(p, q), (2, 3, 4), (2, 4, 5))
    assert found.at("p0", 0) == found.at("p1", 0)
    assert found.at("p0", 2) == found.at("p1", 1)
    assert len(set(found.at("p0", 0) + found.at("p0", 1) + found.at("p0", 2) + found.at("p1", 2))) == 14


def test_factors_that_are_parameters_read_and_make() -> None:
    roles = {("p0", 0): "out", ("p0", 1): "in", ("p1", 0): "in", ("p1", 1): "out"}
    assert of(lambda p, q, x: p @ q, (3, 4), (4, 5)).trace.roles == roles
    assert of(lambda p, q, x: torch.einsum("ab,bc->ac", p, q), (3, 4), (4, 5)).trace.roles == roles
    found = of(lambda p, q, x: torch.einsum("abc,acd->abd", p, q), (2, 3, 4), (2, 4, 5))
    assert {place for place in found.trace.roles if place[1] == 0} == set(), "a factor of each element"


def test_a_product_with_a_vector_is_not_followed() -> None:
    assert "cannot follow" in of(lambda p, q, x: p @ q, (3, 4), (4,)).reason("p0", 1)


def test_a_linear_layer_reads_and_makes() -> None:
    model = nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 5, bias=False))
    found = follow(model, torch.randn(1, 7, 3))
    assert found.at("0.weight", 0) == found.at("0.bias", 0) == found.at("2.weight", 1)
    assert not found.reason("0.weight", 0)
    assert found.reason("0.weight", 1), "nothing makes the model's input"
    roles = found.trace.roles
    assert (roles["0.weight", 0], roles["0.weight", 1], roles["0.bias", 0]) == ("out", "in", "out")
    assert found.trace.owners == {"0.weight": "0", "2.weight": "2"}
    assert sum(cost.macs for cost in found.trace.costs) == 2 * 7 * (3 * 6 + 6 * 5)


class Heads(nn.Module):
    """Attention of two heads of four dimensions for queries and keys, three for values."""

    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.fused = fused
        self.q, self.k, self.v = nn.Linear(6, 8), nn.Linear(6, 8), nn.Linear(6, 6)
        self.proj = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (layer(x).unflatten(-1, (2, -1)).transpose(1, 2) for layer in (self.q, self.k, self.v))
        if self.fused:
            out = F.scaled_dot_product_attention(q, k, v)
        else:
            out = (q @ k.transpose(-2, -1) / 2).softmax(dim=-1) @ v
        found: Tensor = self.proj(out.transpose(1, 2).flatten(2))
        return found


def test_values_are_columns_of_the_second_factor_or_rows_of_the_first() -> None:
    for function in (lambda v, a: a @ v.mT, lambda v, a: v @ a.mT):  # v [B, 2, 3, tokens], a [B, 2, tokens, tokens]

        class Product(nn.Module):
            def __init__(self, product: Callable[[Tensor, Tensor], Tensor]) -> None:
                super().__init__()
                self.v, self.product = nn.Conv1d(4, 6, 1), product

            def forward(self, x: Tensor) -> Tensor:
                v = self.v(x).unflatten(1, (2, 3))
                return self.product(v, (v.mT @ v).softmax(-1).detach() * 0 + x[:, None, :1, :1])

        found = follow(Product(function), torch.randn(1, 4, 5))
        assert found.marks("value") == set(found.at("v.weight", 0))
        assert [len(heads) for heads in found.trace.heads[-1:]] == [2]


@pytest.mark.parametrize("fused", [True, False])
def test_attention_ties_queries_to_keys_and_values_to_what_reads_them(fused: bool) -> None:
    model, example = Heads(fused), torch.randn(1, 7, 6)
    found = follow(model, example)
    queries, values = found.at("q.weight", 0), found.at("v.weight", 0)
    assert found.at("k.weight", 0) == found.at("q.bias", 0) == queries
    assert found.at("proj.weight", 1) == found.at("v.bias", 0) == values
    assert len(set(queries + values)) == 14
    assert found.marks("query_key") == set(queries)
    assert found.marks("value") == set(values)
    assert not found.reason("q.weight", 0) and not found.reason("v.weight", 0)
    components = found.trace.coupling.components()
    heads = [components[labels.numpy()].tolist() for labels in found.trace.heads]
    assert [queries[:4], queries[4:]] in heads
    assert [values[:3], values[3:]] in heads
    expected = torch_macs(model, torch.cat([example, example]))
    assert sum(cost.macs for cost in found.trace.costs) == pytest.approx(expected)


def test_softmax_over_keys_keeps_them() -> None:
    def attended(q: Tensor, k: Tensor, v: Tensor, x: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q[None] + x.sum(), k[None] + x.sum(), v[None] + x.sum())

    found = of(attended, (2, 5, 4), (2, 7, 4), (2, 7, 3))
    assert "softmax runs over it" in found.reason("p1", 1)
    assert found.reason("p2", 1)
    assert not found.reason("p0", 1)
    assert found.at("p0", 0) == found.at("p1", 0) == found.at("p2", 0)


class Alternating(Heads):
    """Reads one dimension of all heads before the next, as NesT does."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (layer(x).unflatten(-1, (2, -1)).transpose(1, 2) for layer in (self.q, self.k, self.v))
        out = (q @ k.transpose(-2, -1)).softmax(dim=-1) @ v
        found: Tensor = self.proj(out.permute(0, 2, 3, 1).flatten(2))
        return found


def test_heads_that_alternate_in_what_reads_them_keep_the_same_dimensions() -> None:
    found = follow(Alternating(False), torch.randn(1, 7, 6))
    values = found.at("v.weight", 0)
    assert values[:3] == values[3:] and len(set(values)) == 3
    assert found.at("proj.weight", 1) == [values[column // 2] for column in range(6)]
    assert len(set(found.at("q.weight", 0))) == 8
