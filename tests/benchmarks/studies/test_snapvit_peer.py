"""SnapViT's side of the comparison: the model and settings that its functions get, and what is made of its scores."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from secateur_studies.snapvit_peer import (
    RATIOS,
    Pictures,
    Search,
    as_snapvit,
    corrected,
    kept_by_snapvit,
    score_by_snapvit,
)
from timm.layers import Attention
from torch import Tensor, nn

from secateur.pipeline.data.images import ArrayImages
from secateur.pipeline.data.transform import Transform
from secateur.pipeline.structure.groups import Groups
from secateur.pipeline.structure.plan import plan_from_kept
from secateur.pipeline.structure.surgery import prune

SCORES = {
    "mlp": torch.arange(2 * 192.0).reshape(2, 192).flip(1),
    "head": torch.tensor([[1.0, 9.0, 5.0], [2.0, 3.0, 4.0]]),
}
TRANSFORM = Transform((3, 16, 16), (0.5,) * 3, (0.5,) * 3)


class PeerAttention(Attention):
    """Attention that can have fewer heads, and that knows nothing of causal ones."""

    @classmethod
    def from_timm_attn(cls, attn: Attention) -> Attention:
        made = cls(dim=attn.head_dim * attn.num_heads, num_heads=attn.num_heads)
        made.qkv, made.proj = attn.qkv, attn.proj
        return made

    def forward(self, x: Tensor, attn_mask: Tensor | None = None) -> Tensor:  # type: ignore[override]  # as theirs
        return super().forward(x, attn_mask)


class OptionalLinear(nn.Module):
    def __init__(self, linear: nn.Module) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.linear(x)
        return found


class Prunable(nn.Module):
    """Records how it is pruned."""

    def __init__(self, model: nn.Module, **options: Any) -> None:
        super().__init__()
        self.model, self.options, self.pruned = model, options, dict[str, Any]()

    def prune(self, **options: Any) -> None:
        self.pruned = options


class Elastic:
    """Counts by the highest scores of all blocks together, and what it was asked to prune."""

    def __init__(self, factory: Any, scores: Any, device: torch.device) -> None:
        self.model, self.scores, self.asked = factory(), scores, dict[str, Any]()

    def _compute_global_keep_counts(self, scores: Tensor, pruning_ratio: float, min_keep_ratio: float) -> list[int]:
        left = scores.numel() - int(scores.numel() * pruning_ratio)
        least = scores.flatten().sort(descending=True).values[left - 1]
        return [max(int((row >= least).sum()), int(min_keep_ratio * len(row))) for row in scores]

    def prune(self, **options: Any) -> None:
        self.model.asked = options


@pytest.fixture
def peer() -> Any:
    seen: dict[str, Any] = {"seeds": [], "frozen": []}

    def freeze(model: nn.Module, exclusions: tuple[str, ...] = ()) -> None:
        seen["frozen"].append(list(exclusions))

    def fitness(**options: Any) -> Any:
        seen["fitness"] = options
        return lambda solution: options["pruning_function"](model=options["model"], solution=solution)

    def optimize(**options: Any) -> Any:
        seen["search"] = options
        seen["judged"] = options["fitness_function"](-options["starting_point"])
        return 2 * options["starting_point"], 0.0, {}

    def export(prunable_model: Prunable, block_weights: Tensor, model_type: str) -> Any:
        seen["weights"] = block_weights
        return SimpleNamespace(mlp_scores=SCORES["mlp"], head_scores=SCORES["head"])

    return SimpleNamespace(
        seen=seen,
        DynamicHeadsAttention=PeerAttention,
        OptionalLinear=OptionalLinear,
        DINOPrunableModel=Prunable,
        DINODataAgumentation=lambda crops_size: lambda image: torch.zeros(12, 3, crops_size, crops_size),
        freeze_model=freeze,
        deepcopy_model=copy.deepcopy,
        seed_everything=seen["seeds"].append,
        build_fitness_function=fitness,
        optimize_function_ga=optimize,
        GAOptimizerType=SimpleNamespace(XNES="xnes"),
        GALossType=SimpleNamespace(COSINE_SIMILARITY="cosine"),
        export_importance_scores=export,
        ElasticImportanceScores=lambda **options: SimpleNamespace(**options),
        ElasticViT=Elastic,
        ModelType=SimpleNamespace(DEIT_VIT_B_16="deit"),
        MLPArchitecture=SimpleNamespace(STANDARD="standard"),
    )


@pytest.fixture
def images() -> ArrayImages:
    pixels = np.random.default_rng(0).integers(256, size=(20, 16, 16, 3), dtype=np.uint8)
    return ArrayImages(pixels, np.arange(20, dtype=np.int64) % 5, tuple("abcde"))


def test_its_model_says_what_the_dense_one_says(peer: Any, vit: nn.Module) -> None:
    x = torch.randn(2, 3, 16, 16)
    theirs = as_snapvit(peer, vit)
    torch.testing.assert_close(theirs(x), vit(x))
    assert isinstance(theirs.head, OptionalLinear)
    assert type(vit.get_submodule("blocks.0.attn")) is Attention


def test_scores_come_of_its_own_job(peer: Any, vit: nn.Module, images: ArrayImages) -> None:
    found = score_by_snapvit(peer, vit, images, TRANSFORM, Search(images=7, judged=5, evaluations=3))
    assert found.keys() == SCORES.keys()
    seen = peer.seen
    assert seen["seeds"] == [42]
    layers = [f"blocks.{i}.{name}" for i in range(2) for name in ("mlp.fc1", "attn.qkv")]
    assert seen["frozen"] == [[], layers]
    given = seen["fitness"]
    assert given["model"].options["min_head_keep_ratio"] == 0.2
    assert isinstance(given["teacher"].head, nn.Identity)
    assert isinstance(given["model"].model.head, OptionalLinear)
    assert [len(given[f"{name}_data_loader"].dataset) for name in ("pruning", "eval")] == [7, 5]
    views, _ = next(iter(given["pruning_data_loader"]))
    assert views.shape == (7, 12, 3, 16, 16)
    search = seen["search"]
    assert (search["ndim_problem"], search["max_function_evaluations"]) == (2 * (1 + 3), 3)
    np.testing.assert_allclose(search["starting_point"], [1.2, 0.8, 1.2, 1.2, 1.2, 0.8, 0.8, 0.8], rtol=1e-6)
    asked = [small.pruned for small in seen["judged"]]
    assert [(one["pruning_ratio"], one["pruning_ratio_heads"]) for one in asked] == list(
        zip(*RATIOS.values(), strict=True)
    )
    assert all(bool((one["block_weights"] > 0).all()) for one in asked)
    torch.testing.assert_close(seen["weights"], 2 * torch.tensor(search["starting_point"]))


def test_pictures_are_spread_evenly(images: ArrayImages) -> None:
    some = Pictures(images, TRANSFORM, 3)
    assert some.chosen.tolist() == [0, 10, 19]
    torch.testing.assert_close(some[1][0], TRANSFORM(images.read(10)))
    assert len(Pictures(images, TRANSFORM, 100)) == 20


def test_the_highest_scores_stay_and_our_surgery_takes_the_others(
    peer: Any, vit: nn.Module, vit_groups: Groups
) -> None:
    kept = kept_by_snapvit(peer, vit, vit_groups, SCORES, 0.5, 0.5)
    assert kept["blocks.0.attn.heads"] == [1, 2]
    assert kept["blocks.1.attn.heads"] == [2]
    assert len(kept["blocks.0.mlp.hidden"]) == int(0.05 * 192)
    assert kept["blocks.1.mlp.hidden"] == list(range(192))
    small = prune(vit, plan_from_kept(vit_groups, kept), vit_groups)
    assert small.get_parameter("blocks.1.attn.qkv.weight").shape[0] == 3 * 16
    assert small(torch.zeros(1, 3, 16, 16)).shape == (1, 5)


def test_its_correction_gets_the_shares_and_all_pictures(peer: Any, vit: nn.Module, images: ArrayImages) -> None:
    small: Any = corrected(peer, vit, SCORES, (0.5, 0.25), Pictures(images, TRANSFORM, 6))
    assert (small.asked["mlp_pruning_ratio"], small.asked["head_pruning_ratio"]) == (0.5, 0.25)
    assert small.asked["apply_correction"]
    assert len(small.asked["correction_data_loader"].dataset) == 6
