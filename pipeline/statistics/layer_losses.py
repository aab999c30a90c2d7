"""What whole layers are worth, measured: how far the answers move when a layer's output is its mean."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from secateur.core.errors import DataError
from secateur.core.model_inputs import call, moved, samples_of
from secateur.core.modules import device_of, frozen
from secateur.pipeline.data.loader import Batches
from secateur.pipeline.statistics.capture import observed
from secateur.pipeline.structure.groups import Group, Site
from secateur.pipeline.tasks.task import Task

IMAGES = 64
"""On at least how many images each layer is measured, of those that there are."""


@torch.no_grad()
def layer_losses(model: nn.Module, layers: Sequence[Group], loader: Batches, task: Task) -> dict[str, Tensor]:
    """For each layer, by name, the mean divergence of the answers without it from those with it, `[1]` float64.

    What the layer's readers make (an attention's projection, an MLP's last layer) is replaced by its mean over all
    tokens, the best constant that can stand in for it. The divergence is the task's, of a classifier in nats, which a
    second-order loss by the Fisher information approximates. There is one pass over `IMAGES` images for each layer, and
    one more. Raises `DataError` without images.
    """
    device = device_of(model)
    readers = {layer.name: [_output(site) for site in layer.sites] for layer in layers}
    sites = {site.key: site for found in readers.values() for site in found}
    batches, goals, totals, counts = [], [], dict[tuple[str, str], Tensor](), dict[tuple[str, str], int]()
    with frozen(model):
        with observed(model, sites.values()) as values:
            for images, _ in loader:
                batches.append(moved(images, device))
                goals.append(call(model, batches[-1]))
                for key in sites:
                    rows = values[key].flatten(0, -2).double()
                    totals[key] = totals.get(key, torch.zeros_like(rows[0])) + rows.sum(0)
                    counts[key] = counts.get(key, 0) + len(rows)
                if sum(map(samples_of, batches)) >= IMAGES:
                    break
        if not batches:
            raise DataError("there are no images to measure layers on: give a data set with at least one")
        found = {}
        for name, outputs in readers.items():
            lost = torch.zeros(1, dtype=torch.float64)
            with _constant(model, {site.module: totals[site.key] / counts[site.key] for site in outputs}):
                for images, goal in zip(batches, goals, strict=True):
                    lost += float(task.divergence(call(model, images), goal).sum())
            found[name] = lost / sum(map(samples_of, batches))
    return found


def _output(site: Site) -> Site:
    """Where what a layer that reads at a site makes is seen."""
    return Site(site.module, "output", -1, ())


@contextmanager
def _constant(model: nn.Module, means: dict[str, Tensor]) -> Iterator[None]:
    """The model with the outputs of some modules replaced by a constant `[width]` each."""
    with ExitStack() as hooks:
        for name, mean in means.items():

            def fixed(_module: nn.Module, _inputs: object, output: Tensor, mean: Tensor = mean) -> Tensor:
                return mean.to(output).expand_as(output)

            handle = model.get_submodule(name).register_forward_hook(fixed)
            hooks.callback(handle.remove)
        yield
