"""SnapViT's side of the comparison (2510.17700): its scores, its allocation and its correction, on a timm model.

Its functions are called as published, with the settings of its own job for a ViT (`jobs/ga/dino.sh`): slopes of a
self-supervised loss over twelve views of each image, then weights of blocks and heads that an evolution strategy finds
by what small models make of the images. Departures: its attention takes one argument more, which today's timm hands
over, and the model is the one that is compared, not one that it downloads. `Search` says of how many images.
"""

from __future__ import annotations

import copy
import importlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from secateur.pipeline.data.images import Images
from secateur.pipeline.data.transform import Transform
from secateur.pipeline.structure.groups import Groups

REVISION = "WalterSimoncini/SnapViT 2ed5f79"
SEED = 42
RATIOS = {"mlp": (0.15, 0.35, 0.55, 0.65), "head": (0.0, 0.2, 0.4, 0.5)}
"""The shares of hidden units and of heads that go from the models by which block weights are judged."""
LEAST = {"min_hidden_dim_keep_ratio": 0.05, "min_head_keep_ratio": 0.2}
"""The shares of hidden units and of heads that stay in each block."""
COMPONENTS = 192
"""Principal components of the embeddings; where these are no wider, the embeddings themselves."""
STARTS = (1.2, 0.8)
"""The weights of the first and of the last block from which the search starts."""
BATCH, JUDGED_BATCH = 16, 64


@dataclass(frozen=True)
class Search:
    """Of how many images, evenly spread, slopes are taken, how many judge, and how often; as in its job by default."""

    images: int = 1000
    judged: int = 1000
    evaluations: int = 50


def import_snapvit(folder: Path) -> Any:
    """What the comparison calls of the code in a folder; it needs `pypop7`, `open_clip_torch` and `scikit-learn`."""
    sys.path.append(str(folder))
    names = {
        "DynamicHeadsAttention": "src.utils.modules",
        "OptionalLinear": "src.utils.modules",
        "DINOPrunableModel": "src.models.prunable.dino",
        "DINODataAgumentation": "src.models.prunable.dino",
        "freeze_model": "src.utils.models",
        "deepcopy_model": "src.utils.models",
        "seed_everything": "src.utils.misc",
        "build_fitness_function": "src.utils.ga.fitness",
        "optimize_function_ga": "src.utils.ga",
        "GAOptimizerType": "src.utils.ga",
        "GALossType": "src.utils.ga.loss",
        "export_importance_scores": "src.inference",
        "ElasticImportanceScores": "src.inference",
        "ElasticViT": "src.inference",
        "ModelType": "src.models.enums",
        "MLPArchitecture": "src.models.enums",
    }
    return SimpleNamespace(**{name: getattr(importlib.import_module(module), name) for name, module in names.items()})


class Pictures(Dataset[tuple[Any, int]]):
    """Some of the images with a transform, and zeros for the labels, which it does not look at."""

    def __init__(self, images: Images, transform: Any, count: int) -> None:
        self.images, self.transform = images, transform
        self.chosen = np.linspace(0, len(images) - 1, min(count, len(images))).round().astype(int)

    def __len__(self) -> int:
        """How many images were chosen."""
        return len(self.chosen)

    def __getitem__(self, place: int) -> tuple[Any, int]:
        """One image, transformed."""
        return self.transform(self.images.read(int(self.chosen[place])).convert("RGB")), 0


def as_snapvit(peer: Any, model: nn.Module) -> nn.Module:
    """A copy with its attention, and with a classifier that can be switched off, as its `load_model` makes them."""

    class Attention(peer.DynamicHeadsAttention):  # type: ignore[misc]  # a peer's class, which has no types
        """Its attention, which today's timm also tells whether it is causal."""

        def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
            """As its own, for attention that is not causal."""
            found: Tensor = super().forward(x, attn_mask)
            return found

    model = copy.deepcopy(model)
    blocks: Any = model.blocks
    for block in blocks:
        block.attn = Attention.from_timm_attn(block.attn)
    model.head = peer.OptionalLinear(model.head)
    return model.eval()


def score_by_snapvit(
    peer: Any, model: nn.Module, images: Images, transform: Transform, search: Search
) -> dict[str, Tensor]:
    """The scores `mlp` [blocks, hidden units] and `head` [blocks, heads], weighted as its search ends."""
    peer.seed_everything(SEED)
    student = as_snapvit(peer, model)
    teacher = copy.deepcopy(student)
    teacher.head = nn.Identity()
    peer.freeze_model(model=teacher)
    blocks: Any = student.blocks
    layers = [f"blocks.{i}.{name}" for i in range(len(blocks)) for name in ("mlp.fc1", "attn.qkv")]
    peer.freeze_model(model=student, exclusions=layers)
    cpu = torch.device("cpu")
    prunable = peer.DINOPrunableModel(model=student, device=cpu, estimation_epochs=1, **LEAST)
    views = Pictures(images, peer.DINODataAgumentation(crops_size=transform.shape[-1]), search.images)
    fitness = peer.build_fitness_function(
        model=prunable,
        teacher=teacher,
        pruning_data_loader=DataLoader(views, BATCH),
        eval_data_loader=DataLoader(Pictures(images, transform, search.judged), JUDGED_BATCH),
        device=cpu,
        pruning_function=lambda model, solution: _smaller(peer, model, solution),
        loss_types=[peer.GALossType.COSINE_SIMILARITY],
        num_pca_components=COMPONENTS,
    )
    heads = blocks[0].attn.num_heads
    by_block = torch.linspace(*STARTS, len(blocks))
    weights, _, _ = peer.optimize_function_ga(
        type_=peer.GAOptimizerType.XNES,
        fitness_function=fitness,
        ndim_problem=len(blocks) * (1 + heads),
        max_function_evaluations=search.evaluations,
        seed=SEED,
        starting_point=torch.cat([by_block, by_block.repeat_interleave(heads)]).numpy(),
    )
    found = peer.export_importance_scores(
        prunable_model=prunable, block_weights=torch.tensor(weights).abs(), model_type=peer.ModelType.DEIT_VIT_B_16
    )
    return {"mlp": found.mlp_scores.contiguous(), "head": found.head_scores.contiguous()}


def _smaller(peer: Any, prunable: Any, solution: np.ndarray[Any, np.dtype[np.float64]]) -> list[Any]:
    """The small models by which one choice of block weights is judged."""
    weights = torch.tensor(solution.astype(np.float32)).abs()
    found = []
    for mlp, head in zip(RATIOS["mlp"], RATIOS["head"], strict=True):
        small = peer.deepcopy_model(prunable)
        small.prune(
            data_loader=None,
            pruning_ratio=mlp,
            pruning_ratio_heads=head,
            block_weights=weights,
            estimate_pruning_weights=False,
        )
        found.append(small)
    return found


def elastic(peer: Any, model: nn.Module, scores: Mapping[str, Tensor]) -> Any:
    """The whole model with its units in the order of the scores, as its inference cuts it."""
    (blocks, hidden), (_, heads) = scores["mlp"].shape, scores["head"].shape
    width = model.get_parameter("blocks.0.attn.proj.weight").shape[0]
    every = peer.ElasticImportanceScores(
        mlp_scores=scores["mlp"],
        head_scores=scores["head"],
        model_type=peer.ModelType.DEIT_VIT_B_16,
        mlp_architecture=peer.MLPArchitecture.STANDARD,
        num_blocks=blocks,
        hidden_dim=hidden,
        embed_dim=width,
        num_heads=heads,
        head_dim=width // heads,
        **LEAST,
    )
    return peer.ElasticViT(lambda: as_snapvit(peer, model), every, torch.device("cpu"))


def kept_by_snapvit(
    peer: Any, model: nn.Module, groups: Groups, scores: Mapping[str, Tensor], mlp: float, head: float
) -> dict[str, Sequence[int]]:
    """For each group of hidden units and of heads, what stays without these shares of all of them."""
    whole = elastic(peer, model, scores)
    kept: dict[str, Sequence[int]] = {}
    for kind, found, share in (("mlp_hidden", scores["mlp"], mlp), ("head", scores["head"], head)):
        least = LEAST["min_hidden_dim_keep_ratio" if kind == "mlp_hidden" else "min_head_keep_ratio"]
        counts = whole._compute_global_keep_counts(scores=found, pruning_ratio=share, min_keep_ratio=least)
        names = [group.name for group in groups if group.kind == kind]
        for name, units, count in zip(names, found.argsort(descending=True), counts, strict=True):
            kept[name] = sorted(units[:count].tolist())
    return kept


def corrected(
    peer: Any,
    model: nn.Module,
    scores: Mapping[str, Tensor],
    shares: tuple[float, float],
    pictures: Dataset[tuple[Any, int]],
) -> nn.Module:
    """The model without these shares of hidden units and of heads, with its SparseGPT correction of what reads them."""
    whole = elastic(peer, model, scores)
    whole.prune(
        mlp_pruning_ratio=shares[0],
        head_pruning_ratio=shares[1],
        apply_correction=True,
        correction_data_loader=DataLoader(pictures, BATCH),
    )
    small: nn.Module = whole.model
    return small
