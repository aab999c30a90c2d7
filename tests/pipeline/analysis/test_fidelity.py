"""Fidelity: against maps made one model at a time, and against scipy's rank correlation."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from scipy.stats import spearmanr
from torch import Tensor, nn

import secateur as sc
from secateur.core.errors import DataError, PlanError
from secateur.pipeline.analysis.fidelity import GRADIENT, Fidelity, fidelity, rank_correlation
from secateur.pipeline.scores.lrp.composite import find_composite
from secateur.pipeline.scores.lrp.relevance import IMAGES, relevances
from secateur.pipeline.structure.groups import Groups
from secateur.pipeline.structure.plan import Plan
from secateur.pipeline.structure.surgery import prune
from tests.signatures import towers, towers_inputs

Batches = list[tuple[Tensor, Tensor]]


@pytest.fixture
def small(vit: nn.Module, vit_groups: Groups) -> nn.Module:
    kept = {"blocks.0.mlp.hidden": tuple(range(96)), "blocks.1.attn.heads": (0, 2)}
    return prune(vit, Plan(kept, vit_groups.fingerprint(), vit_groups.inputs), vit_groups)


def relevance_map(model: nn.Module, images: Tensor, classes: Tensor, rules: str) -> Tensor:
    """The definition: all images at once, `[B, H, W]`."""
    if rules == GRADIENT:
        images = images.clone().requires_grad_()
        model(images).gather(1, classes[:, None]).sum().backward()
        assert images.grad is not None
        return (images * images.grad).detach().sum(1)
    (found,) = relevances(model, [(images, classes)], (IMAGES,), find_composite(rules))
    return found.images.sum(1)


@pytest.mark.parametrize("rules", ["epsilon", "gamma", GRADIENT])
@pytest.mark.parametrize("target", ["label", "predicted"])
def test_maps_of_both_models_explain_the_same_class(
    vit: nn.Module, small: nn.Module, batches: Batches, rules: str, target: str
) -> None:
    images, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    classes = labels if target == "label" else vit(images).argmax(1)
    before, after = (relevance_map(model, images, classes, rules) for model in (vit, small))
    before, after = (found.unfold(1, 4, 4).unfold(2, 4, 4).mean((3, 4)) for found in (before, after))
    found = fidelity(small, vit, batches, rules, target, grid=4, examples=[1, 6])
    cosine = F.cosine_similarity(before.flatten(1), after.flatten(1))
    assert found.cosine == pytest.approx(cosine.tolist(), abs=1e-4)
    rank = [spearmanr(one.flatten(), two.flatten()).statistic for one, two in zip(before, after, strict=True)]
    assert found.rank == pytest.approx(rank, abs=1e-2)
    assert (found.mean_cosine, found.mean_rank) == pytest.approx((float(cosine.mean()), sum(rank) / 12), abs=1e-2)
    assert max(found.cosine) < 0.999
    for example, index in zip(found.examples, (1, 6), strict=True):
        assert (example.index, example.explained) == (index, classes[index])
        assert (example.cosine, example.rank) == (found.cosine[index], found.rank[index])
        assert torch.equal(example.image, images[index])
        torch.testing.assert_close(example.dense, before[index], rtol=1e-3, atol=1e-6)
        torch.testing.assert_close(example.small, after[index], rtol=1e-3, atol=1e-6)


def test_a_model_agrees_with_itself_and_is_left_alone(vit: nn.Module, batches: Batches) -> None:
    vit.train()
    before = copy.deepcopy(vit.state_dict())
    found: Fidelity = sc.fidelity(vit, vit, batches)
    assert found.cosine == pytest.approx([1.0] * 12)
    assert found.rank == pytest.approx([1.0] * 12)
    assert vit.training
    assert not any(images.requires_grad for images, _ in batches)
    assert all(parameter.requires_grad for parameter in vit.parameters())
    assert all(torch.equal(value, before[key]) for key, value in vit.state_dict().items())


def test_a_grid_of_zero_compares_pixels_and_a_fine_one_is_cut_to_them(vit: nn.Module, batches: Batches) -> None:
    for grid, size in ((0, 16), (4, 4), (99, 16)):
        (example,) = fidelity(vit, vit, batches, grid=grid, examples=[0]).examples
        assert example.dense.shape == example.small.shape == (size, size)


def test_any_iterable_of_pairs_will_do_unless_it_is_gone_after_once(vit: nn.Module, batches: Batches) -> None:
    lists = [(images, labels.tolist()) for images, labels in batches]
    assert fidelity(vit, vit, lists).cosine == fidelity(vit, vit, batches).cosine  # type: ignore[arg-type]  # as it says
    with pytest.raises(DataError, match="can be read only once"):
        fidelity(vit, vit, iter(batches))


def test_ranks_share_ties_and_a_flat_row_correlates_with_nothing() -> None:
    one = torch.tensor([[1.0, 1.0, 3.0, 2.0], [5.0, 5.0, 5.0, 5.0]]).numpy()
    other = torch.tensor([[2.0, 1.0, 1.0, 0.0], [1.0, 2.0, 3.0, 4.0]]).numpy()
    assert rank_correlation(one, other).tolist() == pytest.approx([spearmanr(one[0], other[0]).statistic, 0.0])


def test_bad_input_is_refused(vit: nn.Module, batches: Batches) -> None:
    with pytest.raises(DataError, match="no images"):
        fidelity(vit, vit, [])
    with pytest.raises(DataError, match="image 12 was chosen, but the places of images are 0 to 11"):
        fidelity(vit, vit, batches, examples=[3, 12])
    with pytest.raises(PlanError, match="one of label, predicted"):
        fidelity(vit, vit, batches, target="best")


def test_models_of_more_than_images_are_refused_in_a_sentence() -> None:
    inputs, model = towers_inputs(2), towers()
    for given, word in ((inputs, "dict"), ((inputs["pixels"], inputs["ids"]), "tuple")):
        with pytest.raises(DataError, match=f"batches hold a {word}: wrap both models in a module"):
            fidelity(model, model, [(given, torch.zeros(2, dtype=torch.long))])
