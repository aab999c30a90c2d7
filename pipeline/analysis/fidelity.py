"""Whether a smaller model still looks at the same evidence: its relevance maps beside those of the dense one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import tee
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from secateur.core.errors import DataError, PlanError
from secateur.core.modules import device_of, frozen
from secateur.pipeline.data.loader import Batches, any_batches
from secateur.pipeline.scores.lrp.composite import Composite, find_composite
from secateur.pipeline.scores.lrp.relevance import IMAGES, TARGETS, Target, relevances

Rules = str | Path | Mapping[str, Any] | Composite
GRADIENT = "gradient"
"""Maps of gradient x input, without any relevance rule."""


@dataclass(frozen=True, eq=False)
class Example:
    """One image `[C, H, W]` with the maps `[h, w]` of both models for the class `explained`, and their agreement."""

    index: int
    explained: int
    image: Tensor
    dense: Tensor
    small: Tensor
    cosine: float
    rank: float


@dataclass(frozen=True, eq=False)
class Fidelity:
    """The agreement of both models' maps, image by image: cosine, and rank correlation (Spearman); 1 is the same."""

    cosine: tuple[float, ...]
    rank: tuple[float, ...]
    examples: tuple[Example, ...]

    @property
    def mean_cosine(self) -> float:
        """The mean cosine over the images."""
        return float(np.mean(self.cosine))

    @property
    def mean_rank(self) -> float:
        """The mean rank correlation over the images."""
        return float(np.mean(self.rank))


def fidelity(
    small: nn.Module,
    dense: nn.Module,
    loader: Batches,
    rules: Rules = "epsilon",
    target: Target = "label",
    grid: int = 14,
    examples: Sequence[int] = (),
) -> Fidelity:
    """The agreement of the maps of `small` and `dense`, both explaining the same class of each image.

    A map is the relevance of the pixels under `rules` (a composite, or `gradient` for gradient x input), summed over
    colours and over the cells of a grid of `grid` x `grid` (0: pixels). `target` is the label, or what the dense
    model predicts. `examples` are the places of images in the loader's order that come back with both maps. Both
    models are left as they were. Raises `DataError` without images, for inputs that are not images alone, and for an
    example that is not there.

    >>> found = sc.fidelity(small, model, loader, rules="gradient")
    >>> len(found.cosine), -1 <= found.mean_cosine <= 1
    (10, True)
    """
    if target not in TARGETS:
        raise PlanError(f"the target of the maps is {target!r}, but must be one of {', '.join(TARGETS)}")
    cosines: list[float] = []
    ranks: list[float] = []
    chosen: list[Example] = []
    for images, classes, before, after in _both(small, dense, any_batches(loader), rules, target):
        maps = [_cells(found, grid) for found in (before, after)]
        cosine = F.cosine_similarity(maps[0].flatten(1), maps[1].flatten(1)).tolist()
        rank = rank_correlation(*(found.flatten(1).numpy() for found in maps)).tolist()
        for place in range(len(images)):
            if (index := len(cosines) + place) in examples:
                chosen.append(
                    Example(
                        *(index, int(classes[place]), images[place], maps[0][place], maps[1][place]),
                        cosine=cosine[place],
                        rank=rank[place],
                    )
                )
        cosines += cosine
        ranks += rank
    if not cosines:
        raise DataError("there are no images to compare the maps on: give a data set with at least one")
    if missing := sorted(set(examples) - {example.index for example in chosen}):
        raise DataError(f"image {missing[0]} was chosen, but the places of images are 0 to {len(cosines) - 1}")
    return Fidelity(tuple(cosines), tuple(ranks), tuple(chosen))


def check_rules(rules: Rules) -> None:
    """Raises `PlanError` where `rules` is neither `gradient` nor a composite."""
    if rules != GRADIENT:
        find_composite(rules)


def rank_correlation(one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.float64]:
    """Spearman's correlation `[B]` of the rows of two arrays `[B, N]`; 0 for a row whose values are all equal."""
    from scipy.stats import rankdata

    ranks = [rankdata(values, axis=1) - (values.shape[1] + 1) / 2 for values in (one, other)]
    lengths = [np.sqrt((values**2).sum(1)) for values in ranks]
    length = lengths[0] * lengths[1]
    found: NDArray[np.float64] = (ranks[0] * ranks[1]).sum(1) / np.where(length > 0, length, 1)
    return found


def _both(
    small: nn.Module, dense: nn.Module, loader: Batches, rules: Rules, target: Target
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """For each batch: images, classes `[B]`, and the maps `[B, H, W]` of the dense and of the small model."""
    first, second = tee(_images_alone(loader))  # both models go through the batches in step: one batch is held, no more
    images: list[Tensor] = []
    of_dense: list[Tensor] = []

    def explained() -> Iterator[tuple[Tensor, Tensor]]:
        for (batch, _), (found, classes) in zip(first, _maps(dense, second, rules, target), strict=True):
            images.append(batch)
            of_dense.append(found)
            yield batch, classes

    for found, classes in _maps(small, explained(), rules, "label"):
        yield images.pop(), classes, of_dense.pop(), found


def _images_alone(loader: Batches) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches; raises `DataError` for those of models that take more than images."""
    for images, labels in any_batches(loader):
        if not isinstance(images, Tensor):
            raise DataError(
                f"maps are of the pixels of one tensor of images, but the batches hold a {type(images).__name__}: wrap "
                "both models in a module that takes the images alone, and give batches of these"
            )
        yield images, labels


def _maps(model: nn.Module, batches: Batches, rules: Rules, target: Target) -> Iterator[tuple[Tensor, Tensor]]:
    """The maps `[B, H, W]` of each batch with the classes `[B]` that they explain, on the CPU."""
    if rules == GRADIENT:
        yield from _gradients(model, batches, target)
    else:
        for batch in relevances(model, batches, (IMAGES,), find_composite(rules), target):
            yield batch.images.sum(1).cpu(), batch.classes.cpu()


def _gradients(model: nn.Module, batches: Batches, target: Target) -> Iterator[tuple[Tensor, Tensor]]:
    """Gradient x input instead of relevance."""
    device = device_of(model)
    with frozen(model):
        for images, labels in batches:
            images = images.detach().to(device).requires_grad_()
            with torch.enable_grad():
                logits = model(images)
                classes = labels.to(device) if target == "label" else logits.argmax(1)
                (gradient,) = torch.autograd.grad(logits.gather(1, classes[:, None]).sum(), images)
            yield (images * gradient).detach().sum(1).cpu(), classes.cpu()


def _cells(maps: Tensor, grid: int) -> Tensor:
    """The maps summed over cells, up to a factor."""
    height, width = maps.shape[-2:]
    return F.adaptive_avg_pool2d(maps[:, None], (min(grid, height), min(grid, width)))[:, 0] if grid else maps
