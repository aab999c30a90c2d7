"""Moments against those of all rows at once, weighted, fold by fold and in bounded precision."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from secateur.core.errors import DataError
from secateur.pipeline.statistics.moments import Moments, Probe, fold_moments, gather_moments


def moments_of(*parts: Tensor, weights: Tensor | None = None) -> Moments:
    found = Moments.empty(parts[0].shape[-1], torch.device("cpu"))
    for part in parts:
        found.add(part, weights)
    return found


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 6), st.lists(st.integers(1, 9), min_size=1, max_size=4), st.integers(0, 99))
def test_they_are_those_of_all_rows_whatever_the_batches(d: int, sizes: list[int], seed: int) -> None:
    rows = torch.randn(sum(sizes), d, generator=torch.Generator().manual_seed(seed)).double()
    found = moments_of(*rows.split(sizes))
    assert found.count == len(rows)
    torch.testing.assert_close(found.mean, rows.mean(0))
    torch.testing.assert_close(found.second, rows.T @ rows / len(rows))
    torch.testing.assert_close(found.covariance, rows.T.cov(correction=0).reshape(d, d))
    half = len(rows) // 2 or 1
    both = moments_of(rows[:half]) + moments_of(rows[half:])
    torch.testing.assert_close(both.covariance, found.covariance)


@pytest.mark.parametrize("d", [64, 65, 200, 600])
def test_outer_products_are_whole_whatever_the_blocks(d: int) -> None:
    rows, weights = torch.randn(30, d).double(), torch.rand(30).double()
    found = moments_of(rows, rows, weights=weights)
    torch.testing.assert_close(found.outer, 2 * rows.T @ (weights[:, None] * rows))


def test_weights_count_rows_several_times() -> None:
    rows, weights = torch.randn(5, 3).double(), torch.tensor([1.0, 0.0, 3.0, 1.0, 2.0])
    repeated = rows.repeat_interleave(weights.long(), 0)
    one, other = moments_of(rows, weights=weights), moments_of(repeated)
    assert one.count == other.count
    torch.testing.assert_close(one.covariance, other.covariance)


def test_rows_of_any_rank_and_half_precision_do_not_overflow() -> None:
    rows = torch.full((2, 3, 4), 300.0, dtype=torch.float16)  # 300 squared is more than half precision holds
    found = moments_of(rows)
    assert found.count == 6
    assert found.second[0, 0] == 90_000


def test_samples_go_to_the_folds_in_turn_whatever_the_batches() -> None:
    x = torch.arange(7.0)[:, None, None].expand(7, 2, 1)
    for sizes in ([7], [3, 4], [1] * 7, [2, 2, 3]):
        even, odd = fold_moments(((len(part), {"x": part}) for part in x.split(sizes)), 2)["x"]
        assert (even.count, even.total.item()) == (8, 2 * (0 + 2 + 4 + 6))
        assert (odd.count, odd.total.item()) == (6, 2 * (1 + 3 + 5))
    with pytest.raises(DataError, match="1 images cannot give 2 sets"):
        fold_moments([(1, {"x": x[:1]})], 2)


def test_probes_read_the_sides_of_modules_and_the_model_is_left_alone() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True), nn.Linear(4, 2)).train()
    batches = [(torch.randn(n, 3), torch.zeros(n, dtype=torch.long)) for n in (4, 3)]
    probes = {
        "in": Probe("2", "input", lambda x: x[:, None]),
        "out": Probe("0", "output", lambda y: 2 * y[:, None, :1]),
    }
    found = gather_moments(model, probes, batches)
    x = torch.cat([images for images, _ in batches])
    with torch.no_grad():
        y = model[0](x)
    torch.testing.assert_close(found["in"][0].mean, y.relu().double().mean(0))
    torch.testing.assert_close(found["out"][0].mean, 2 * y[:, :1].double().mean(0))
    assert model.training
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    with pytest.raises(DataError, match="no images cannot give 2 sets"):
        gather_moments(model, probes, [], 2)
