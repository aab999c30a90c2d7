"""Low-rank heads: the best mixtures against those of a search, their errors against explicit rows."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from secateur.kernels.ragged_attention import RaggedAttention
from secateur.pipeline.recover.low_rank_heads import (
    Packed,
    product_encoders,
    product_error,
    repair_products,
    roots,
    value_encoder,
    value_mixtures,
)
from secateur.pipeline.recover.narrowed import NarrowedHeads, narrowed_by
from secateur.pipeline.recover.ridge import Fit
from secateur.pipeline.statistics.moments import Moments, gather_moments
from secateur.pipeline.structure.groups import Groups
from secateur.pipeline.structure.plan import plan_from_kept
from secateur.pipeline.structure.surgery import prune

HALF = [head * 16 + dim for head in range(3) for dim in range(8)]


def rows(d: int, seed: int, count: int = 80) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(count, d, generator=generator) @ torch.randn(d, d, generator=generator)).double()


def residue(weight: Tensor, x: Tensor, encoder: Tensor) -> float:
    """The least mean squared error of W x from E x."""
    y, z = x @ weight.T, x @ encoder.T
    return float((y - z @ torch.linalg.lstsq(z, y).solution).square().sum(1).mean())


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 7), st.integers(1, 4), st.integers(0, 999))
def test_no_encoder_of_the_rank_reads_values_better(d: int, out: int, seed: int) -> None:
    """By the definition of reduced-rank regression: the error is that of the singular values left out."""
    x, weight = rows(d, seed), rows(d, seed + 1)[:out]
    rank = max(1, d // 2)
    found = value_encoder(weight, x.T @ x / len(x), rank)
    least = torch.linalg.svdvals(x @ weight.T)[rank:].square().sum() / len(x)
    assert residue(weight, x, found) == pytest.approx(float(least), rel=1e-6, abs=1e-9)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(len(found)).double())
    other = torch.randn(rank, d, generator=torch.Generator().manual_seed(seed)).double()
    assert residue(weight, x, other) >= float(least) - 1e-9


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 7), st.integers(0, 999))
def test_no_pair_of_encoders_gives_the_logits_better(d: int, seed: int) -> None:
    queries, keys, rank = rows(d, seed), rows(d, seed + 1), max(1, d // 2)
    moments = [part.T @ part / len(part) for part in (queries, keys)]
    a, b = product_encoders(*moments, rank)
    logits = queries @ keys.T
    gap = (logits - (queries @ a.T) @ (keys @ b.T).T).square().mean().item()
    assert product_error(*moments, a, b) == pytest.approx(gap, rel=1e-6, abs=1e-9)
    least = torch.linalg.svdvals(logits)[rank:].square().sum().item() / logits.numel()
    assert gap == pytest.approx(least, rel=1e-6, abs=1e-9)


def test_roots_are_roots_and_leave_out_directions_that_are_not_there() -> None:
    x = rows(3, 0) @ rows(5, 1)[:3]
    moment = x.T @ x
    root, inverse = roots(moment)
    torch.testing.assert_close(root @ root, moment)
    projector = root @ inverse
    torch.testing.assert_close(projector @ projector, projector, atol=1e-6, rtol=1e-6)
    assert torch.linalg.matrix_rank(inverse) == 3


def test_mixtures_of_all_heads_lie_head_by_head() -> None:
    v = torch.tensor([[True, False, True], [False, False, False], [True, False, False]])
    heads = NarrowedHeads("attn", torch.ones(3, 3).bool(), v)
    x, weight = rows(9, 0), rows(9, 1)[:4]
    moments = Moments.empty(9, torch.device("cpu"))
    moments.add(x)
    encoder = value_mixtures(weight, moments, heads)
    assert encoder.shape == (3, 9)
    nonzero = (encoder != 0).reshape(3, 3, 3).any(2)  # [kept, head]
    assert nonzero.tolist() == [[True, False, False], [True, False, False], [False, False, True]]
    place = slice(6, 9)
    expected = value_encoder(weight[:, place], moments.covariance[place, place], 1)
    torch.testing.assert_close(encoder[2:, place], expected)


def test_a_packed_projection_is_that_of_its_layer_and_gains_a_fits_bias() -> None:
    layer = nn.Linear(4, 6)
    packed = Packed.of(layer)
    torch.testing.assert_close(packed.weight, layer.weight.detach().double())
    fit = Fit(torch.randn(6, 2).double(), torch.randn(6).double())
    after = packed.after(fit)
    assert torch.equal(after.weight, fit.weight)
    torch.testing.assert_close(after.bias, layer.bias.detach().double() + fit.bias)
    assert not Packed.of(nn.Linear(4, 6, bias=False)).bias.any()


@torch.no_grad()
def test_products_are_written_as_the_best_form_of_the_logits(vit: nn.Module, vit_groups: Groups) -> None:
    """The pruned attention's logits, on what the dense one reads, beside those of the definition."""
    plan = plan_from_kept(vit_groups, {"blocks.1.attn.qk": HALF})
    small, narrowed = prune(vit, plan, vit_groups), narrowed_by(vit, vit_groups, plan)
    batches = [(torch.randn(16, 3, 16, 16, generator=torch.Generator().manual_seed(1)), torch.zeros(16).long())]
    moments = gather_moments(vit, narrowed.probes(vit), batches, 2)
    heads, qkv = narrowed.heads["blocks.1.attn"], vit.get_submodule("blocks.1.attn.qkv")
    q, k = moments["blocks.1.attn.q"], moments["blocks.1.attn.k"]
    found = repair_products(small, Packed.of(qkv), heads, q, k)
    assert found.way == "products"
    attention = small.get_submodule("blocks.1.attn")
    assert isinstance(attention, RaggedAttention)
    before = after = 0.0
    for head in range(3):
        place = slice(16 * head, 16 * head + 16)
        a, b = ([part.second[place, place] for part in parts] for parts in (q, k))
        encoders = product_encoders(torch.stack(a).mean(0), torch.stack(b).mean(0), 8)
        for number, encoder in enumerate(encoders):
            rows_here = slice(24 * number + 8 * head, 24 * number + 8 * head + 8)
            dense = qkv.weight[48 * number + 16 * head : 48 * number + 16 * head + 16]
            torch.testing.assert_close(attention.qkv.weight[rows_here], (encoder @ dense.double()).float())
        keep = torch.eye(16).double()[:8]
        before += sum(product_error(*pair, keep, keep) for pair in zip(a, b, strict=True)) / 2
        fits = [product_encoders(*pair, 8) for pair in zip(a, b, strict=True)]
        after += sum(product_error(a[1 - n], b[1 - n], *fits[n]) for n in (0, 1)) / 2
    assert found.error_before == pytest.approx(before)
    assert found.error_after == pytest.approx(after)
