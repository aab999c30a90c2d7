"""Learns masks: one process or many by the same code, mixed precision, and exact resume."""

from __future__ import annotations

import hashlib
import logging
import math
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import PartialState
from accelerate.utils import reduce
from torch import Tensor, nn

from secateur.core.checkpoints import Checkpoint, weights_hash
from secateur.core.errors import DataError, PlanError
from secateur.core.files import sha256_json
from secateur.core.model_inputs import ModelInputs, call, has_batch, moved, tensors_in
from secateur.core.model_inputs import chosen as some_of
from secateur.core.modules import device_of, frozen
from secateur.core.say import Say
from secateur.pipeline.data.loader import Batches
from secateur.pipeline.data.shuffled import shuffled
from secateur.pipeline.scores.xmask.masks import Masks
from secateur.pipeline.scores.xmask.method import XMask
from secateur.pipeline.statistics.mask_hooks import multiplied
from secateur.pipeline.structure.groups import Group, Groups

_log = logging.getLogger(__name__)

CHECKPOINT = "xmask.pt"
RANK = 8
"""The rank of masks that would be larger than the model if they were whole."""
TYPES = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def learn(
    model: nn.Module,
    groups: Groups,
    loader: Batches,
    spec: XMask,
    seed: int,
    say: Say,
    folder: Path | None,
) -> dict[str, Tensor]:
    """The masks `[classes, units]` of each group, 0 for a class without images; the model stays as it is.

    All processes that a launcher started take part, each with its share of every batch. With a `folder`, a
    checkpoint lies there from time to time, and a training that was stopped goes on from it to the same result.
    Raises `PlanError` when there is nothing to mask and `DataError` for labels that the model has no logit for.
    """
    chosen = [group for group in groups if group.sites and (not spec.kinds or group.kind in spec.kinds)]
    if not chosen:
        raise PlanError(f"the model has no units of the kinds {', '.join(spec.kinds)} to mask: give other kinds")
    seen, state = census(loader), PartialState(cpu=device_of(model).type == "cpu")
    with frozen(model):
        masks = _first_masks(model, chosen, loader, seen, spec, seed, say)
        optimizer = torch.optim.Adam([part for part in masks.parameters() if part.requires_grad], lr=spec.lr)
        scaler = torch.amp.GradScaler(masks.common.device.type, enabled=spec.precision == "fp16")
        parts = {"masks": masks, "optimizer": optimizer, "scaler": scaler}
        place = None
        if folder:
            identity = [asdict(spec), seed, seen.identity, weights_hash(model), [group.name for group in chosen]]
            place = Checkpoint(folder / CHECKPOINT, sha256_json(identity))
        done = place.load(parts) if place else 0
        each = math.ceil(seen.samples / spec.batch_size)
        steps = each * spec.epochs
        for epoch in range(done // each, spec.epochs):
            batches = shuffled(loader, spec.batch_size, (seed, epoch))
            for number, (images, labels) in islice(enumerate(batches), max(0, done - epoch * each), None):
                step = epoch * each + number
                for options in optimizer.param_groups:
                    options["lr"] = spec.lr * (1 + math.cos(math.pi * step / steps)) / 2
                optimizer.zero_grad()
                loss = _share_of_loss(model, groups, masks, images, labels, spec, state)
                scaler.scale(loss).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
                _add_up(masks, state)
                scaler.step(optimizer)
                scaler.update()
                say(f"masks: step {step + 1} of {steps}, loss {float(reduce(loss.detach(), 'sum')):.4f}")
                if place and (step + 1) % spec.checkpoint_steps == 0 and state.is_main_process:
                    place.save(parts, step + 1)
    state.wait_for_everyone()
    if place and state.is_main_process:
        place.path.unlink(missing_ok=True)
    there = torch.zeros(masks.classes, 1)
    there[list(seen.labels)] = 1
    with torch.no_grad():
        return {name: value.cpu() * there for name, value in masks.every().items()}


@dataclass(frozen=True)
class Census:
    """What one pass over a loader's images shows: how many there are, their labels, and a hash of all of them."""

    samples: int
    labels: tuple[int, ...]
    identity: str


def census(loader: Batches) -> Census:
    """The census of a loader; its batch size does not matter. Raises `DataError` without an image."""
    digest, labels = hashlib.sha256(), list[int]()
    for images, batch in loader:
        labels += batch.tolist()
        for part in tensors_in(images):
            if has_batch(part, len(batch)):
                digest.update(part.cpu().contiguous().view(torch.uint8).numpy().tobytes())  # NumPy knows no bfloat16
    if not labels:
        raise DataError("there are no images to learn masks from: give a data set with at least one")
    digest.update(np.asarray(labels).tobytes())
    return Census(len(labels), tuple(sorted(set(labels))), digest.hexdigest())


def _first_masks(
    model: nn.Module,
    chosen: list[Group],
    loader: Batches,
    seen: Census,
    spec: XMask,
    seed: int,
    say: Say,
) -> Masks:
    """Masks that change nothing yet, on the model's device; says it when they are of a low rank by themselves."""
    parameter = next(model.parameters())
    with torch.no_grad():
        first = moved(some_of(next(iter(loader))[0], slice(0, 1)), parameter.device)
        classes = int(call(model, first).shape[1])
    if seen.labels[0] < 0 or seen.labels[-1] >= classes:
        raise DataError(
            f"the labels go from {seen.labels[0]} to {seen.labels[-1]}, but the model has {classes} classes: give data "
            "of the model's classes"
        )
    rank, numbers = spec.rank, classes * sum(group.units for group in chosen)
    if rank is None:
        size = sum(part.numel() for part in model.parameters())
        rank = RANK if numbers > size else 0
        if rank:
            message = f"{numbers:,} mask values are more than the model's {size:,} parameters: learned at rank {rank}"
            _log.warning("xmask: %s (rank: 0 learns them whole)", message)
            say(message)
    return Masks(chosen, classes, rank, seed).to(parameter.device)


def _share_of_loss(
    model: nn.Module,
    groups: Groups,
    masks: Masks,
    images: ModelInputs,
    labels: Tensor,
    spec: XMask,
    state: PartialState,
) -> Tensor:
    """This process's share of the loss of a batch; the shares of all processes add up to it."""
    device = masks.common.device
    mine = slice(state.process_index, None, state.num_processes)
    penalty = spec.sparsity * masks.sparsity() + spec.smoothness * masks.roughness(spec.smooth)
    loss: Tensor = penalty / state.num_processes
    inputs, wanted = moved(some_of(images, mine), device), labels[mine].to(device)
    if len(wanted):
        low = torch.autocast(device.type, TYPES[spec.precision], enabled=spec.precision != "no")
        with multiplied(model, groups, masks.rows(wanted)), low:
            logits: Tensor = call(model, inputs)
        return loss + F.cross_entropy(logits.float(), wanted, reduction="sum") / len(labels)
    return loss


def _add_up(masks: Masks, state: PartialState) -> None:
    """Sums the gradients of all processes."""
    for parameter in masks.parameters():
        if parameter.grad is not None and state.num_processes > 1:
            parameter.grad = reduce(parameter.grad, "sum")
