"""Reconstruction: it teaches without labels, chooses on images held out, stops, resumes, and drops what fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given
from torch import Tensor, nn

from secateur.core.errors import DataError, ModelError, RecipeError
from secateur.pipeline.data.dataset import Dataset
from secateur.pipeline.data.images import ArrayImages
from secateur.pipeline.data.transform import Transform
from secateur.pipeline.models.inputs import transform_for
from secateur.pipeline.recover import reconstruct as module
from secateur.pipeline.recover.reconstruct import (
    CHECKPOINT,
    Lesson,
    Reconstruction,
    cycle_of,
    rebuild,
    reconstruct,
    split,
)
from secateur.pipeline.recover.spec import ReconstructSpec
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Groups
from secateur.pipeline.structure.plan import Plan
from secateur.pipeline.structure.surgery import prune
from secateur.pipeline.tasks.classify import Classify
from tests.conftest import make_vit
from tests.pipeline.recover.test_blocks import halved, halved_resnet

TRANSFORM = Transform((3, 16, 16), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
SPEC = ReconstructSpec(epochs=3, batch_size=8, lr=3e-3, held_out=0.2, ema=0.5, precision="no")


def pictures(count: int = 30, seed: int = 0, label: int = 0) -> ArrayImages:
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 20, 20, 3), dtype=np.uint8)
    return ArrayImages(pixels, np.full(count, label, dtype=np.int64), ("one", "two"))


@cache
def pair() -> tuple[nn.Module, nn.Module, Groups, Plan]:
    """A pruned ViT, the dense one, its groups and the plan."""
    dense = make_vit()
    groups = find_groups(dense, torch.zeros(1, 3, 16, 16))
    plan = halved(groups, ("mlp_hidden", "v_dim"))
    return prune(dense, plan, groups), dense, groups, plan


def weights(model: nn.Module) -> Tensor:
    return torch.cat([value.detach().double().flatten() for value in model.state_dict().values()])


def made(spec: ReconstructSpec = SPEC, **options: Any) -> tuple[nn.Module, Reconstruction]:
    images = options.pop("images", pictures())
    return rebuild(*pair(), images, spec, TRANSFORM, **options)


def divergence(model: nn.Module, dense: nn.Module, images: ArrayImages, chosen: np.ndarray[Any, Any]) -> float:
    """From the definition, on images as they are."""
    x = torch.stack([TRANSFORM(images.read(int(index))) for index in chosen])
    with torch.no_grad():
        p, q = dense(x).double().softmax(1), model(x).double().softmax(1)
    return float((p * (p / q).log()).sum(1).mean())


def test_the_small_model_gets_closer_on_images_held_out_and_nothing_else_changes() -> None:
    small, dense, *_ = pair()
    before = weights(small), weights(dense)
    rebuilt, found = made()
    held = split(30, 0.2, 0)[1]
    assert found.kept
    assert found.after < 0.9 * found.before
    assert found.before == pytest.approx(divergence(small, dense, pictures(), held), rel=1e-3)
    assert found.after == pytest.approx(divergence(rebuilt, dense, pictures(), held), rel=1e-3)
    assert found.after == min(found.curve)
    assert (found.blocks, found.images, found.held_out, found.lr) == (2, 24, 6, 3e-3)
    assert len(found.curve) == len(found.seconds) == 3
    assert list(found.seconds) == sorted(found.seconds)
    assert torch.equal(before[0], weights(small))
    assert torch.equal(before[1], weights(dense))
    assert not rebuilt.training
    assert not any(parameter.grad is not None for parameter in (*small.parameters(), *dense.parameters()))


def test_labels_are_not_looked_at() -> None:
    assert torch.equal(weights(made(images=pictures(label=1))[0]), weights(made()[0]))


def test_the_images_held_out_teach_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = set[bytes]()
    read = ArrayImages.read

    def noted(self: ArrayImages, i: int) -> Any:
        if len(self) < 30:
            seen.add(read(self, i).tobytes())
        return read(self, i)

    monkeypatch.setattr(ArrayImages, "read", noted)
    made()
    every = pictures()
    assert seen == {read(every, int(index)).tobytes() for index in split(30, 0.2, 0)[0]}


@given(st.integers(2, 300), st.floats(0.001, 0.9), st.integers(0, 5))
def test_every_image_teaches_or_is_held_out(count: int, share: float, seed: int) -> None:
    taught, held = split(count, share, seed)
    assert sorted([*taught, *held]) == list(range(count))
    assert len(held) == max(1, round(share * count))
    assert np.array_equal(held, split(count, share, seed)[1])


def test_what_is_no_better_on_the_images_held_out_is_dropped() -> None:
    _, dense, groups, _ = pair()
    said: list[str] = []
    whole = Plan({}, groups.fingerprint(), groups.inputs)
    rebuilt, found = rebuild(dense, dense, groups, whole, pictures(), SPEC, TRANSFORM, say=said.append)
    assert not found.kept
    assert found.after == found.before == pytest.approx(0, abs=1e-6)
    assert torch.equal(weights(rebuilt), weights(dense))
    assert said[-1].startswith("reconstruction is dropped")


@pytest.mark.parametrize(
    ("found", "passes"),
    [
        ([5.0, 6.0, 6.0, 7.0, 7.0, 7.0, 7.0], 7),  # cycles of 1, 2 and 4 passes
        ([5.0, 6.0, 4.0, 7.0, 7.0, 7.0, 7.0, *range(8, 16)], 15),  # the second one found something
        ([5.0, 6.0, 6.0, 7.0, 4.0, 7.0, 7.0, *range(8, 16)], 15),
    ],
)
def test_it_stops_after_two_cycles_that_find_nothing_better(
    found: list[float], passes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = iter([9.0, *found])  # the first one is of the model before
    monkeypatch.setattr(Lesson, "divergence", lambda self, model: next(told))
    _, facts = made(replace(SPEC, epochs=15))
    assert list(facts.curve) == found[:passes]
    assert facts.after == min(found[:passes])


@given(st.integers(1, 200))
def test_cycles_double_and_fill_all_passes(epochs: int) -> None:
    found = [cycle_of(number, epochs) for number in range(epochs)]
    lengths = [length for first, length in dict.fromkeys(found)]
    assert [first for first, length in found for _ in [0]] == sorted(first for first, _ in found)
    assert sum(lengths) == epochs
    assert lengths[:-1] == [2**n for n in range(len(lengths) - 1)]
    assert 2 ** (len(lengths) - 1) <= lengths[-1] or len(lengths) == 1
    assert lengths[-1] < 3 * 2 ** (len(lengths) - 1)


def test_the_learning_rate_is_the_one_that_leaves_least_after_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RATES", (30.0, 1e-3))
    rebuilt, found = made(replace(SPEC, lr=None))
    assert [rate for rate, _ in found.rates] == [30.0, 1e-3]
    assert found.lr == min(found.rates, key=lambda tried: tried[1])[0] == 1e-3
    assert torch.equal(weights(rebuilt), weights(made(replace(SPEC, lr=1e-3))[0]))


def stopping(at: str) -> Callable[[str], None]:
    def say(message: str) -> None:
        if message.startswith(at):
            raise KeyboardInterrupt

    return say


@pytest.mark.parametrize("at", ["a pass with a learning rate of 0.003", "pass 2"])
def test_a_stopped_run_goes_on_to_the_same_weights(at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RATES", (30.0, 3e-3))
    spec = replace(SPEC, lr=None)
    whole, facts = made(spec)
    with pytest.raises(KeyboardInterrupt):
        made(spec, folder=tmp_path, say=stopping(at))
    assert (tmp_path / CHECKPOINT).is_file()
    torch.rand(3)  # what happens to the generator in between does not matter
    said: list[str] = []
    resumed, found = made(spec, folder=tmp_path, say=said.append)
    assert len(said) < 5
    assert torch.equal(weights(resumed), weights(whole))
    assert (found.rates, found.curve) == (facts.rates, facts.curve)
    said.clear()
    again, _ = made(spec, folder=tmp_path, say=said.append)
    assert not said
    assert torch.equal(weights(again), weights(whole))


@pytest.mark.parametrize("other", ["images", "spec", "seed"])
def test_a_checkpoint_of_another_lesson_is_not_used(other: str, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        made(folder=tmp_path, say=stopping("pass 2"))
    said: list[str] = []
    made(
        replace(SPEC, features=2.0) if other == "spec" else SPEC,
        images=pictures(seed=1 if other == "images" else 0),
        seed=1 if other == "seed" else 0,
        folder=tmp_path,
        say=said.append,
    )
    assert said[0].startswith("pass 1 ")


def test_the_loss_is_the_divergence_of_the_answers_and_the_mean_error_of_the_blocks() -> None:
    small, dense, groups, plan = pair()
    spec = replace(SPEC, temperature=3.0, features=0.5)
    lesson = Lesson.of(small, dense, groups, plan, pictures(), spec, TRANSFORM, 0, None, Classify())
    x = torch.randn(3, 3, 16, 16)
    with torch.no_grad():
        outputs = []
        for model in (small, dense):
            first = model.blocks[0](model.norm_pre(model._pos_embed(model.patch_embed(x))))
            outputs.append(([first, model.blocks[1](first)], model(x)))
        (found, answer), (goals, goal) = outputs
        p, q = (logits.div(3).softmax(1) for logits in (goal, answer))
        errors = [(a - b).square().mean() / b.var() for a, b in zip(found, goals, strict=True)]
        expected = 9 * (p * (p / q).log()).sum(1).mean() + 0.5 * (errors[0] + errors[1]) / 2
        torch.testing.assert_close(lesson.loss(*outputs), expected)


def test_statistics_of_batch_normalisations_stay_and_narrower_stages_are_compared() -> None:
    small, dense, groups, plan = halved_resnet()
    transform = replace(TRANSFORM, shape=(3, 32, 32))
    rebuilt, found = rebuild(small, dense, groups, plan, pictures(), replace(SPEC, epochs=1, lr=1e-4), transform)
    assert found.kept
    assert found.blocks == 8  # four of the stem
    for name, value in small.named_buffers():
        assert torch.equal(rebuilt.get_buffer(name), value)


def test_three_passes_by_hand_need_no_more_than_a_data_set() -> None:
    _, dense, *_ = pair()
    dense.default_cfg = {**dense.default_cfg, "input_size": (3, 16, 16)}
    data = Dataset(pictures(), pictures(1))
    rebuilt = reconstruct(*pair(), data, SPEC)
    assert torch.equal(weights(rebuilt), weights(reconstruct(*pair(), pictures(), SPEC, transform_for(dense))))


class Two(nn.Module):
    """A model of two inputs."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.body = model

    def forward(self, images: Tensor, other: Tensor) -> Tensor:
        return self.body(images) + other  # type: ignore[no-any-return]  # nn.Module returns Any


def test_bad_input_is_refused() -> None:
    small, dense, groups, plan = pair()
    with pytest.raises(DataError, match=r"9 images leave 7 to learn from beside those held out, fewer than .* = 8"):
        made(images=pictures(9))
    with pytest.raises(ModelError, match="takes images, other"):
        rebuild(small, Two(dense), groups, plan, pictures(), SPEC, TRANSFORM)
    with pytest.raises(RecipeError, match=r"recover.reconstruct.held_out is 0"):
        ReconstructSpec(held_out=0)
    with pytest.raises(RecipeError, match=r"recover.reconstruct.augment is 'nonsense'"):
        ReconstructSpec(augment="nonsense")
