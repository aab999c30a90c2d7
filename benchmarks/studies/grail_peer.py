"""GRAIL's side of the comparison (2602.23795): its selectors, its folding and its compensation, on timm's models.

Its functions are called as published, with its own ridge, clustering and criteria. Departures, which its classes for
other models ask for: its walk over the MLPs of vit-pytorch's SimpleViT is given the names that they have in timm, and
its Gram matrices, which all of its classes gather alike, are gathered once and shared. It folds and prunes MLPs alone:
no class of its cuts the attention of a vision transformer. Its compensation takes the layers that read the units, which
may also be output projections behind fewer values, and convolutions that are not grouped; queries and keys, which no
layer reads, have no equation in it. Its selectors by Gram matrices (FLAP, SlimGPT) are written for LLaMA alone.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from secateur.core.errors import BenchError
from secateur.pipeline.recover.narrowed import Narrowed, NarrowedLayer

Grams = Mapping[str, Tensor]
"""For each layer, by name, the sum of x x^T over what it reads, `[in, in]`, of convolutions over channels alone."""
REVISION = "TWWinde/GRAIL_Compensation ba5e48b"
RIDGE = 1e-3
"""Of the mean of the Gram matrix' diagonal, as all of its pipelines have it."""
CLASSES = {
    "magnitude-l1": ("compression.mag_prune", "ViT_MagnitudePruning", {"p": 1}),
    "magnitude-l2": ("compression.mag_prune", "ViT_MagnitudePruning", {"p": 2}),
    "wanda": ("compression.wanda_prune", "ViT_WandaPruning", {}),
    "folding": ("compression.fold", "ViT_ModelFolding", {}),
}
"""For each selector of its pipeline for vision transformers, the class and what the pipeline gives it."""


def import_grail(folder: Path) -> Any:
    """What the comparison calls of the code in a folder, which is that of `grail-vision`.

    It needs `open_clip_torch`, `scikit-learn` and IBM's `hkmeans` (`hartigan-kmeans`) beside it.
    """
    sys.path.append(str(folder))
    pruned, folded = (importlib.import_module(f"compensation.{way}_compensation") for way in ("prune", "folding"))
    return SimpleNamespace(
        base=importlib.import_module("compression.base_vit"),
        selectors={
            name: (getattr(importlib.import_module(module), kind), options)
            for name, (module, kind, options) in CLASSES.items()
        },
        GramGatherer=importlib.import_module("compression.mag_prune").ResNet18_MagnitudePruning,
        PruneCompensation=pruned.Vit_PruneCompensation,
        FoldingCompensation=folded.Vit_FoldingCompensation,
        LayerCompensation=pruned.ResNet18_PruneCompensation,
    )


def gather_grams(peer: Any, model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    """The Gram matrices of all linear layers and convolutions of the dense model, over all batches."""
    gatherer = peer.GramGatherer(copy.deepcopy(model))
    pictures = list(batches)
    gatherer.run_calibration(pictures, torch.device("cpu"), num_batches=len(pictures))
    return dict(gatherer.get_gram_stats())


def mlp_layers(model: nn.Module) -> dict[str, list[str]]:
    """The two layers of each MLP of a timm transformer, as its own walk over a SimpleViT gives them."""
    return {
        f"group_{number}": [f"{name}.fc1", f"{name}.fc2"]
        for number, name in enumerate(
            name for name, module in model.named_modules() if hasattr(module, "fc1") and hasattr(module, "fc2")
        )
    }


def select(peer: Any, model: nn.Module, grams: Grams, selector: str, share: float, compensated: bool) -> nn.Module:
    """A copy whose MLPs lost a share of their hidden units by one of its selectors, with its compensation or without.

    Raises `BenchError` for a share that would leave nothing.
    """
    if not 0 < share < 1:
        raise BenchError(
            f"GRAIL cuts MLPs alone, which would have to lose {share:.0%} of their hidden units: give a smaller share"
        )
    kind, options = peer.selectors[selector]
    compressor = kind(copy.deepcopy(model), compression_ratio=share, **options)
    compressor.grams = dict(grams)
    compressor.act_scales = {name: gram.diagonal().sqrt().clamp_min(1e-8) for name, gram in grams.items()}
    peer.base.get_axis_to_perm_ViT_Simple = mlp_layers
    with contextlib.redirect_stdout(sys.stderr):
        small: nn.Module = compressor.apply()
    if compensated:
        way = peer.FoldingCompensation if selector == "folding" else peer.PruneCompensation
        _apply(way(small, ridge_lambda=RIDGE), compressor.get_compression_state(), grams)
    return small


def compensate_by_grail(peer: Any, small: nn.Module, dense: nn.Module, narrowed: Narrowed, grams: Grams) -> nn.Module:
    """A copy of a model that our surgery cut, whose narrower layers are rebuilt by its compensation.

    Grouped convolutions stay as surgery left them, and so do the products of queries and keys.
    Raises `BenchError` naming a layer that is not what the compensation would write.
    """
    small = copy.deepcopy(small)
    layers = {name: layer for name, layer in narrowed.layers.items() if layer.parts == 1 and layer.stays.any()}
    entries = [_entry(small, dense.get_submodule(name), name, layer) for name, layer in layers.items()]
    _apply(peer.LayerCompensation(small, ridge_lambda=RIDGE), entries, grams)
    return small


def _entry(small: nn.Module, dense: nn.Module, name: str, narrowed: NarrowedLayer) -> dict[str, Any]:
    """What its compensation asks of one layer: the dense weight and bias, and which inputs and outputs stay."""
    weight, bias = dense.get_parameter("weight"), getattr(dense, "bias", None)
    ins = narrowed.stays.reshape(weight.shape[1], -1)[:, 0].nonzero().flatten()
    outs = narrowed.rows.nonzero().flatten()
    layer, expected = small.get_submodule(name), (len(outs), len(ins), *weight.shape[2:])
    if not isinstance(layer, nn.Linear | nn.Conv2d) or layer.weight.shape != expected:
        found = f"{type(layer).__name__} {list(getattr(layer, 'weight', torch.empty(0)).shape)}"
        raise BenchError(f"the layer {name!r} is a {found}, but GRAIL would write a weight {list(expected)} there")
    return {
        "layer_name": name,
        "weight_full": weight,
        "bias_full": bias,
        "original_shape": weight.shape,
        "in_keep": ins,
        "out_keep": outs,
    }


def _apply(compensation: Any, entries: Iterable[Mapping[str, Any]], grams: Grams) -> None:
    """Runs one of its compensations, which write into the model that they were made for."""
    compensation.load_compression_state(entries)
    compensation.load_gram_stats(dict(grams))
    compensation.apply()
