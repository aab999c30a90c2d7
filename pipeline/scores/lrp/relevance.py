"""Relevance of the tensors at the groups' sites, batch by batch: one forward and one backward pass each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from secateur.core.errors import ModelError, PlanError
from secateur.core.model_inputs import ModelInputs, asking, call, chosen
from secateur.core.modules import device_of, frozen
from secateur.pipeline.data.loader import Batches
from secateur.pipeline.scores.lrp.composite import Composite
from secateur.pipeline.scores.lrp.propagation import Conservation, Layout, Propagation, Recorder
from secateur.pipeline.statistics.capture import observed
from secateur.pipeline.structure.groups import Site

Target = Literal["label", "predicted"]
TARGETS: tuple[Target, ...] = get_args(Target)
IMAGES = Site("", "input", 1, ())
"""The images themselves: what the model as a whole reads."""
AGREEMENT = 1e-2  # of the logits' scale; half precision stays below it, a wrong computation does not

AGAIN = (
    "a part of the model runs under gradient checkpointing, so that it would be computed again without the relevance "
    "rules: switch it off and score again"
)


@dataclass(frozen=True, eq=False)
class Relevance:
    """The relevance of one batch: of the tensors at (module, side), and the classes explained `[B]`.

    Each tensor has the shape of the values at its site; sums over positions and units are the user's.
    """

    at: Mapping[tuple[str, str], Tensor]
    classes: Tensor
    logits: Tensor

    @property
    def images(self) -> Tensor:
        """The relevance of the images `[B, C, H, W]`, where `IMAGES` is among the sites."""
        return self.at[IMAGES.module, IMAGES.side]


def relevances(
    model: nn.Module,
    loader: Batches,
    sites: Iterable[Site],
    composite: Composite,
    target: Target = "label",
) -> Iterator[Relevance]:
    """The relevance for one logit of each image, the label's or the predicted one, streamed batch by batch.

    The relevance that starts at the logit is its value, and goes back as far as the `sites` ask. The model is frozen
    while the iterator is open, and left as it was. Raises `ModelError` when the model under the rules does not
    compute what it computes without them, or computes something by which relevance is not conserved.
    """
    if target not in TARGETS:
        raise PlanError(f"the target of relevance is {target!r}, but must be one of {', '.join(TARGETS)}")
    device = device_of(model)
    layout: Layout | None = None
    with frozen(model), observed(model, sites) as values:
        for images, labels in loader:
            images = asking(images, device)
            plain: Tensor | None = None
            if layout is None:
                first = chosen(images, slice(0, 1))
                layout, plain = record(model, first)
                check_conservation(model, first, layout, composite)
            with torch.enable_grad():
                logits = propagated(model, images, layout, composite)
                if plain is not None:
                    _same(logits[:1], plain)
                classes = labels.to(device) if target == "label" else logits.detach().argmax(1)
                start = logits.gather(1, classes[:, None]).sum()
            keys = sorted(values)
            found = torch.autograd.grad(start, [values[key] for key in keys], allow_unused=True)
            at = {
                key: torch.zeros_like(values[key]) if gradient is None else values[key].detach() * gradient
                for key, gradient in zip(keys, found, strict=True)
            }
            values.clear()
            yield Relevance(at, classes, logits.detach())


def record(model: nn.Module, images: ModelInputs) -> tuple[Layout, Tensor]:
    """The layout of a model, and its logits `[B, classes]` for the images."""
    with torch.no_grad(), Recorder() as recorder:
        logits = call(model, images)
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        shape = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ModelError(f"the model returns {shape}, but relevance starts at logits [B, classes]: give a classifier")
    layout = recorder.layout()
    if not layout.calls:
        raise ModelError(
            "the model runs no convolution and no linear layer: there is nothing to propagate relevance by"
        )
    return layout, logits


def propagated(model: nn.Module, images: ModelInputs, layout: Layout, composite: Composite) -> Tensor:
    """The model's logits, with a graph whose gradients times inputs are relevances.

    Raises `ModelError` for a part under gradient checkpointing, which would run again without the rules.
    """
    with Propagation(layout, composite), _run_once():
        logits: Tensor = call(model, images)
    return logits


def check_conservation(model: nn.Module, images: ModelInputs, layout: Layout, composite: Composite) -> None:
    """Raises `ModelError` that names the functions without a rule that do not conserve relevance, seen on `images`."""
    images = asking(images, device_of(model))
    with torch.enable_grad():
        with Conservation(layout, composite) as conservation, _run_once():
            logits: Tensor = call(model, images)
        torch.autograd.backward(logits.max(1).values.sum())
    lost = conservation.lost()
    if lost:
        named = ", ".join(f"{name} ({share:.0%})" for name, share in sorted(lost.items()))
        raise ModelError(
            f"relevance has no rule for what the model computes by {named}, where that share of it is lost or made: "
            "score it by taylor"
        )


@contextmanager
def _run_once() -> Iterator[None]:
    """Raises `ModelError` where something is to be computed again in the backward pass."""
    try:
        with torch.autograd.graph.disable_saved_tensors_hooks(AGAIN):
            yield
    except RuntimeError as error:
        if AGAIN not in str(error):
            raise
        raise ModelError(AGAIN) from error


def _same(logits: Tensor, plain: Tensor) -> None:
    """Raises `ModelError` when the logits under the rules are not the model's."""
    difference = float((logits.detach() - plain).abs().max() / plain.abs().max().clamp_min(1e-6))
    if not difference <= AGREEMENT:
        raise ModelError(
            f"under the relevance rules the model's logits differ by {difference:.1e} of their scale, allowed is "
            f"{AGREEMENT:.0e}: it changes tensors in place in a way that the rules cannot follow; score it by taylor"
        )
