"""Reconstruction: a small model is taught to give what the dense model's blocks give, on unlabelled images alone."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from timm.optim import create_optimizer_v2
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from secateur.core.checkpoints import Checkpoint, weights_hash
from secateur.core.errors import DataError, RunError
from secateur.core.files import sha256_json
from secateur.core.model_inputs import map_tensors, moved
from secateur.core.modules import copied, device_of, evaluating
from secateur.core.records import read_record, write_record
from secateur.core.say import Say
from secateur.pipeline.data.dataset import Dataset
from secateur.pipeline.data.images import Images
from secateur.pipeline.data.loader import Loader
from secateur.pipeline.data.transform import Transform
from secateur.pipeline.models.inputs import transform_for
from secateur.pipeline.recover.augmentation import seeded
from secateur.pipeline.recover.blocks import Block, Watched, shared_blocks
from secateur.pipeline.recover.distill import check_takes_images, make_accelerator, say_what_is_frozen, views_of
from secateur.pipeline.recover.spec import DistillSpec, ReconstructSpec
from secateur.pipeline.structure.canonical import canonical
from secateur.pipeline.structure.groups import Groups
from secateur.pipeline.structure.plan import Plan
from secateur.pipeline.tasks.classify import Classify
from secateur.pipeline.tasks.task import Task

if TYPE_CHECKING:
    from accelerate import Accelerator

CHECKPOINT, RECONSTRUCTION = "reconstruct.pt", "reconstruction.json"
RATES = (1e-4, 3e-4, 1e-3)
"""The learning rates that are tried where none is given, each for one pass over the images."""
EPOCHS = 15
OPTIMIZER, WARMUP, CLIP = "adamw", 0.5, 1.0
"""Of the first pass, the share `WARMUP` warms up; gradients are clipped to the norm `CLIP`."""


@dataclass(frozen=True)
class Reconstruction:
    """What reconstruction did: the divergence from the dense model on the images held out, before and after.

    `curve` has it after every pass, `seconds` when that was; `rates` those of the learning rates that were tried, by
    the divergence each left. It was `kept` where it is less than before. `blocks` counts those that were compared.
    """

    before: float
    after: float
    kept: bool
    lr: float
    blocks: int
    images: int
    held_out: int
    rates: tuple[tuple[float, float], ...] = ()
    curve: tuple[float, ...] = ()
    seconds: tuple[float, ...] = ()

    @staticmethod
    def load(path: Path) -> Reconstruction:
        """What a reconstruction.json says; raises `RunError` for a file that is none."""
        return read_record(path, "reconstruction", Reconstruction)

    def save(self, path: Path) -> None:
        """Writes reconstruction.json, atomically."""
        write_record(path, "reconstruction", self)


def reconstruct(
    small: nn.Module,
    dense: nn.Module,
    groups: Groups,
    plan: Plan,
    images: Images | Dataset,
    spec: ReconstructSpec | None = None,
    transform: Transform | None = None,
    **options: Any,
) -> nn.Module:
    """A copy of `small` whose blocks give what those of `dense` give, or `small` as it was; see `rebuild`.

    >>> data = sc.open_data("digits")
    >>> spec = sc.ReconstructSpec(epochs=1, lr=1e-3)
    >>> rebuilt = sc.reconstruct(small, model, groups, plan, data, spec, sc.transform_for(model))
    >>> rebuilt(example).shape == small(example).shape
    True
    """
    return rebuild(small, dense, groups, plan, images, spec, transform, **options)[0]


def rebuild(
    small: nn.Module,
    dense: nn.Module,
    groups: Groups,
    plan: Plan,
    images: Images | Dataset,
    spec: ReconstructSpec | None = None,
    transform: Transform | None = None,
    folder: Path | None = None,
    seed: int = 0,
    accelerator: Accelerator | None = None,
    say: Say = lambda message: None,
    task: Task | None = None,
) -> tuple[nn.Module, Reconstruction]:
    """A copy of `small` taught by all blocks and the answer of `dense` on augmented `images`, and what came of it.

    No label is looked at. A share of the images is held out; on them, as they are, the divergence from the dense model
    chooses the learning rate where `spec.lr` gives none, the pass whose averaged weights are kept, and when to stop.
    The rate falls to nothing again and again, in 1, 2, 4, ... passes (`cycle_of`; Loshchilov and Hutter, 2017, arXiv
    1608.03983); after two of these cycles in a row that find nothing better it ends. What is not better than `small`
    there is dropped. Of a data set, the calibration images teach. Statistics of normalisations stay as they are. With a
    `folder`, a checkpoint lies there after every pass, from which a run that was stopped, then or later, goes on to the
    same result; it stays. All processes of `accelerator` take part. Raises `DataError` for fewer images than a step and
    the held-out part take, `RunError` for a batch that the processes cannot share, and `ModelError` as `distill` does.
    """
    spec = spec or ReconstructSpec(epochs=EPOCHS)
    images = images.calibration if isinstance(images, Dataset) else images
    transform, task = transform or transform_for(dense), task or Classify()
    check_takes_images(dense)
    say_what_is_frozen(small, say)
    lesson = Lesson.of(small, dense, groups, plan, images, spec, transform, seed, accelerator, task)
    return lesson.run(small, folder, say)


@dataclass
class Progress:
    """How far it has come, as a checkpoint has it."""

    rates: list[tuple[float, float]] = field(default_factory=list)
    curve: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def state_dict(self) -> dict[str, Any]:
        """The lists."""
        return asdict(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes the lists of a checkpoint."""
        self.rates, self.curve, self.seconds = (list(state[name]) for name in ("rates", "curve", "seconds"))

    def best(self) -> float:
        """The least divergence after any pass."""
        return min(self.curve, default=float("inf"))


@dataclass(frozen=True)
class Lesson:
    """What stays the same all the way: the teacher, the images, and how a student is taught and judged."""

    dense: nn.Module
    blocks: Sequence[Block]
    taught: Images
    judged: Loader
    goals: Sequence[Any]
    transform: Transform
    spec: ReconstructSpec
    views: DistillSpec
    seed: int
    accelerator: Accelerator
    task: Task

    @staticmethod
    def of(
        small: nn.Module,
        dense: nn.Module,
        groups: Groups,
        plan: Plan,
        images: Images,
        spec: ReconstructSpec,
        transform: Transform,
        seed: int,
        accelerator: Accelerator | None,
        task: Task,
    ) -> Lesson:
        """Shares the images out, and finds the blocks; raises what `rebuild` raises."""
        cpu = device_of(small).type == "cpu"
        views = spec.views(cpu)
        accelerator = accelerator or make_accelerator(views, cpu)
        if spec.batch_size % accelerator.num_processes:
            raise RunError(
                f"the batch of {spec.batch_size} cannot be shared by {accelerator.num_processes} processes: give "
                "recover.reconstruct.batch_size as a multiple of their number"
            )
        check_enough(len(images), spec)
        taught, held = split(len(images), spec.held_out, seed)
        judged = Loader(images, transform, spec.batch_size, held)
        teacher = copied(canonical(dense)).eval().requires_grad_(False).to(accelerator.device)
        first = moved(next(iter(judged))[0][:1], device_of(dense))
        blocks = shared_blocks(small, dense, groups, plan, first)
        with torch.no_grad():
            goals = [map_tensors(Tensor.cpu, teacher(moved(x, accelerator.device))) for x, _ in judged]
        taught_images = images.subset(taught)
        return Lesson(*(teacher, blocks, taught_images, judged, goals, transform, spec, views, seed, accelerator, task))

    def run(self, small: nn.Module, folder: Path | None, say: Say) -> tuple[nn.Module, Reconstruction]:
        """Tries the learning rates, teaches by the best one, and keeps the best pass."""
        progress, best, spec = Progress(), copied(small), self.spec
        before = self.divergence(small)
        place = Checkpoint(folder / CHECKPOINT, self._identity(small)) if folder else None
        student = Student(self, small)
        parts = {"progress": progress, "best": best, **student.parts()}
        passes = place.load(parts) if place else 0
        for rate in () if spec.lr else RATES[len(progress.rates) :]:
            trial = Student(self, small)
            trial.learn(0, rate)
            progress.rates.append((rate, self.divergence(trial.averaged())))
            say(f"a pass with a learning rate of {rate:g} leaves a divergence of {progress.rates[-1][1]:.4f}")
            self._save(place, parts, 0)
        lr = spec.lr or min(progress.rates, key=lambda pair: pair[1])[0]
        for number in range(passes, spec.epochs):
            if self._found_nothing_lately(number, progress.curve):
                break
            started = time.perf_counter()
            student.learn(number, lr)
            found = self.divergence(student.averaged())
            if found < progress.best():
                best.load_state_dict(student.averaged().state_dict())
            progress.seconds.append(time.perf_counter() - started + (progress.seconds or [0.0])[-1])
            progress.curve.append(found)
            say(f"pass {number + 1} of {spec.epochs}: divergence {found:.4f} on images held out, {before:.4f} before")
            self._save(place, parts, number + 1)
        self.accelerator.wait_for_everyone()
        after = progress.best()
        kept = after < before
        if not kept:
            say(f"reconstruction is dropped: it leaves a divergence of {after:.4f}, but there were {before:.4f} before")
        facts = Reconstruction(
            *(before, after if kept else before, kept, lr, len(self.blocks), len(self.taught), self.judged.samples),
            rates=tuple((rate, left) for rate, left in progress.rates),
            curve=tuple(progress.curve),
            seconds=tuple(round(value, 1) for value in progress.seconds),
        )
        return (best.to(device_of(small)).train(small.training) if kept else copied(small)), facts

    def _found_nothing_lately(self, number: int, curve: Sequence[float]) -> bool:
        """Whether the pass `number` begins a cycle after two that found nothing better than those before them."""
        begins = sorted({cycle_of(earlier, self.spec.epochs)[0] for earlier in range(number + 1)})
        if number != begins[-1] or len(begins) < 4:
            return False
        return min(curve[begins[-3] :]) >= min(curve[: begins[-3]])

    def divergence(self, model: nn.Module) -> float:
        """How far the model's answers are from the dense model's on the images held out, on average."""
        total, device = 0.0, device_of(model)
        with evaluating(model), torch.no_grad():
            for (images, _), goal in zip(self.judged, self.goals, strict=True):
                answer = model(moved(images, device))
                total += float(self.task.divergence(answer, map_tensors(lambda t: t.to(device), goal)).sum())
        return total / self.judged.samples

    def loss(self, found: tuple[list[Tensor], Any], goal: tuple[list[Tensor], Any]) -> Tensor:
        """The divergence of the answers, and the mean of the blocks' errors with the weight `spec.features`."""
        soft = self.spec.temperature
        loss = soft**2 * self.task.divergence(found[1], goal[1], soft).mean()
        if self.blocks and self.spec.features:
            errors = [block.error(one, other) for block, one, other in zip(self.blocks, found[0], goal[0], strict=True)]
            loss = loss + self.spec.features * torch.stack(errors).mean()
        return loss

    def _identity(self, small: nn.Module) -> str:
        lesson = [asdict(self.spec), self.seed, self.taught.fingerprint(), str(self.transform)]
        return sha256_json([*lesson, weights_hash(small), weights_hash(self.dense)])

    def _save(self, place: Checkpoint | None, parts: dict[str, Any], passes: int) -> None:
        if place and self.accelerator.is_main_process:
            place.save(parts, passes)


class Student:
    """A copy of the small model that learns, with an average of its weights along the way."""

    def __init__(self, lesson: Lesson, small: nn.Module) -> None:
        spec, accelerator = lesson.spec, lesson.accelerator
        self._lesson = lesson
        self.model = copied(small).eval().to(accelerator.device)  # statistics of normalisations stay
        keep = get_ema_multi_avg_fn(spec.ema)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self.average = AveragedModel(self.model, multi_avg_fn=keep)
        slow_attention = accelerator.device.type == "cpu" and accelerator.mixed_precision == "bf16"
        for module in self.model.modules() if slow_attention else ():
            if hasattr(module, "fused_attn"):  # the fused one's gradients take four times as long there
                setattr(module, "fused_attn", False)  # noqa: B010  (nn.Module knows tensors and modules)
        self.optimizer = create_optimizer_v2(self.model, opt=OPTIMIZER, lr=spec.lr or RATES[0], weight_decay=0.0)
        self.steps = len(lesson.taught) // spec.batch_size
        self._pair, self.optimizer = accelerator.prepare(Watched(self.model, lesson.blocks), self.optimizer)
        self._teacher = accelerator.prepare_model(Watched(lesson.dense, lesson.blocks), evaluation_mode=True)

    def parts(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"student": self.model, "average": self.average, "optimizer": self.optimizer}

    def averaged(self) -> nn.Module:
        """The average of the weights, or the weights where there is none."""
        return self.average.module if self._lesson.spec.ema else self.model

    def learn(self, number: int, lr: float) -> None:
        """One pass over the images, the `number`th."""
        lesson, accelerator = self._lesson, self._lesson.accelerator
        first = number * self.steps
        batches = views_of(
            *(lesson.taught, lesson.transform, lesson.views, lesson.seed, first, first + self.steps, accelerator)
        )
        begun, length = cycle_of(number, lesson.spec.epochs)
        for step, (views, _) in enumerate(batches, first):
            share = (step - begun * self.steps) / (length * self.steps)
            warm = min(1.0, (step + 1) / (WARMUP * self.steps))
            for group in self.optimizer.param_groups:
                group["lr"] = lr * warm * (1 + math.cos(math.pi * share)) / 2
            views = views.to(accelerator.device)
            with seeded(lesson.seed + step):
                with torch.no_grad():
                    goal = self._teacher(views)
                loss = lesson.loss(self._pair(views), goal)
                accelerator.backward(loss)
                accelerator.clip_grad_norm_(self._pair.parameters(), CLIP)
                self.optimizer.step()
                self.optimizer.zero_grad()
            self.average.update_parameters(self.model)


def cycle_of(number: int, epochs: int) -> tuple[int, int]:
    """The first pass of the cycle that the pass `number` of `epochs` belongs to, and how many passes that cycle has.

    Each is twice as long as the one before it; what would not fill another one is added to the last.
    """
    first, length = 0, 1
    while first + length <= number and first + 3 * length <= epochs:
        first, length = first + length, 2 * length
    if first + 3 * length > epochs:
        length = epochs - first
    return first, length


def held_out(count: int, share: float) -> int:
    """How many of the images are held out, one at least."""
    return max(1, round(share * count))


def check_enough(count: int, spec: ReconstructSpec) -> None:
    """Raises `DataError` where so many images leave too few for a step beside those held out."""
    if (left := count - held_out(count, spec.held_out)) < spec.batch_size:
        raise DataError(
            f"{count} images leave {left} to learn from beside those held out, fewer than "
            f"recover.reconstruct.batch_size = {spec.batch_size}"
        )


def split(count: int, share: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The indices of the images that teach, and of those that are held out, one at least."""
    order, held = np.random.default_rng(seed).permutation(count), held_out(count, share)
    return np.sort(order[held:]), np.sort(order[:held])
