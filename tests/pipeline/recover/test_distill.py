"""Distillation: it teaches, resumes exactly, and gives the same on two processes as on one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from accelerate.state import AcceleratorState
from torch import Tensor, nn

from secateur.core.errors import DataError, ModelError, RecipeError, RunError
from secateur.pipeline.data.dataset import Dataset
from secateur.pipeline.data.images import ArrayImages
from secateur.pipeline.data.transform import Transform
from secateur.pipeline.models.inputs import transform_for
from secateur.pipeline.recover.augmentation import Views
from secateur.pipeline.recover.distill import CHECKPOINT, Outputs, distill, loss_of, make_accelerator
from secateur.pipeline.recover.spec import DistillSpec
from secateur.pipeline.tasks.classify import Classify
from tests.conftest import make_vit
from tests.ranks import two_ranks_work
from tests.signatures import towers

TRANSFORM = Transform((3, 16, 16), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
SPEC = DistillSpec(epochs=2, batch_size=8, lr=3e-3, ema=0.5, checkpoint_steps=3)


def pictures(count: int = 40, seed: int = 0) -> ArrayImages:
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 20, 20, 3), dtype=np.uint8)
    return ArrayImages(pixels, np.zeros(count, dtype=np.int64), ("one",))


def student() -> nn.Module:
    """The dense model with noise on its weights."""
    model = make_vit()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.03 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    return model


def gap(model: nn.Module, dense: nn.Module) -> float:
    views = Views(pictures(), TRANSFORM, DistillSpec(mix=0), 9)
    x = torch.stack([views[0, index][0] for index in range(40)])
    with torch.no_grad():
        return F.kl_div(model(x).log_softmax(1), dense(x).log_softmax(1), log_target=True, reduction="sum").item() / 40


def weights(model: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_the_student_gets_closer_and_nothing_else_changes(tmp_path: Path) -> None:
    small, dense = student(), make_vit()
    before = weights(small), weights(dense)
    taught = distill(small, dense, pictures(), SPEC, TRANSFORM, tmp_path)
    assert gap(taught, dense) < 0.7 * gap(small, dense)
    assert torch.equal(before[0], weights(small))
    assert torch.equal(before[1], weights(dense))
    assert not taught.training
    assert not list(tmp_path.iterdir())


def test_a_stopped_run_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    small, dense = student(), make_vit()
    whole = distill(small, dense, pictures(), SPEC, TRANSFORM, tmp_path)
    said: list[str] = []

    def stop(message: str) -> None:
        said.append(message)
        if message.startswith("step 8"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        distill(small, dense, pictures(), SPEC, TRANSFORM, tmp_path, say=stop)
    assert (tmp_path / CHECKPOINT).is_file()
    torch.rand(3)  # what happens to the generator in between does not matter
    said.clear()
    resumed = distill(small, dense, pictures(), SPEC, TRANSFORM, tmp_path, say=said.append)
    assert said[0].startswith("step 7 of 10")
    assert torch.equal(weights(resumed), weights(whole))


@pytest.mark.parametrize("other", ["student", "teacher", "images", "preprocessing"])
def test_a_checkpoint_of_another_lesson_is_not_used(other: str, tmp_path: Path) -> None:
    def stop(message: str) -> None:
        if message.startswith("step 4"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        distill(student(), make_vit(), pictures(), SPEC, TRANSFORM, tmp_path, say=stop)
    said: list[str] = []
    images = pictures(seed=1 if other == "images" else 0)
    transform = replace(TRANSFORM, mean=(0.4, 0.5, 0.5)) if other == "preprocessing" else TRANSFORM
    small = make_vit(seed=5) if other == "student" else student()
    dense = make_vit(seed=5) if other == "teacher" else make_vit()
    distill(small, dense, images, SPEC, transform, tmp_path, say=said.append)
    assert said[0].startswith("step 1 ")


def test_three_arguments_are_enough_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a data set the calibration images teach, by the dense model's own preprocessing, and nothing is written."""
    monkeypatch.setattr("secateur.pipeline.recover.distill.EPOCHS", 2)
    dense = make_vit()
    dense.default_cfg = {**dense.default_cfg, "input_size": (3, 16, 16)}
    data = Dataset(pictures(64), pictures(1))
    taught = distill(student(), dense, data)
    assert torch.equal(
        weights(taught), weights(distill(student(), dense, data.calibration, None, transform_for(dense)))
    )
    assert gap(taught, dense) < gap(student(), dense)


def same_but_for_rounding(one: nn.Module, other: nn.Module) -> None:
    """AdamW turns rounding of a vanishing gradient into whole steps, so a few weights may differ."""
    gaps, moved = (weights(one) - weights(other)).abs(), (weights(one) - weights(student())).abs().mean()
    assert gaps.mean() < 1e-2 * moved


def test_accumulated_parts_make_the_same_step(tmp_path: Path) -> None:
    settings = [replace(SPEC, epochs=1, accumulate=parts) for parts in (1, 4)]
    made = [distill(student(), make_vit(), pictures(16), spec, TRANSFORM, tmp_path) for spec in settings]
    same_but_for_rounding(*made)


def work(folder: Path) -> None:
    """One of two processes, as a launcher would start it."""
    accelerator = make_accelerator(SPEC, cpu=True)
    assert accelerator.num_processes == 2
    spec = replace(SPEC, epochs=1)
    taught = distill(student(), make_vit(), pictures(16), spec, TRANSFORM, folder, accelerator=accelerator)
    torch.save(taught.state_dict(), folder / f"{accelerator.process_index}.pt")


@pytest.mark.nightly
def test_two_processes_give_what_one_gives(tmp_path: Path) -> None:
    two_ranks_work(__name__, tmp_path)
    both = [make_vit(), make_vit()]
    for rank, model in enumerate(both):
        model.load_state_dict(torch.load(tmp_path / f"{rank}.pt"))
    assert torch.equal(*map(weights, both))
    alone = distill(student(), make_vit(), pictures(16), replace(SPEC, epochs=1), TRANSFORM, tmp_path)
    same_but_for_rounding(both[0], alone)


class Plain(nn.Module):
    """A model that does not tell its features from its head."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.body = model

    def forward(self, images: Tensor) -> Tensor:
        """Logits `[B, classes]`."""
        return self.body(images)  # type: ignore[no-any-return]  # nn.Module returns Any


def test_a_model_without_timms_halves_is_taught_by_its_logits(tmp_path: Path) -> None:
    small, dense = student(), make_vit()
    x, shown = torch.randn(3, 3, 16, 16), torch.rand(3, 5).softmax(1)
    logits = loss_of(Outputs(small), Outputs(dense), x, shown, DistillSpec(features=0.0), Classify())
    torch.testing.assert_close(
        loss_of(Outputs(Plain(small)), Outputs(Plain(dense)), x, shown, DistillSpec(), Classify()),
        logits,
        rtol=1e-5,
        atol=1e-6,
    )
    taught = distill(Plain(small), Plain(dense), pictures(), SPEC, TRANSFORM, tmp_path)
    assert gap(taught, dense) < 0.7 * gap(small, dense)


def test_the_loss_is_the_divergence_and_the_features_error() -> None:
    small, dense = student(), make_vit()
    x = torch.randn(3, 3, 16, 16)
    shown = torch.rand(3, 5).softmax(1)
    found = loss_of(Outputs(small), Outputs(dense), x, shown, DistillSpec(temperature=3.0, features=0.5), Classify())
    with torch.no_grad():
        p, q = ((model(x) / 3).softmax(1) for model in (dense, small))
        a, b = dense.forward_features(x), small.forward_features(x)
    expected = 9 * (p * (p / q).log()).sum(1).mean() + 0.5 * ((a - b).square().mean((1, 2)) / a.var((1, 2))).mean()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    found = loss_of(
        Outputs(small), Outputs(dense), x, shown, DistillSpec(temperature=3.0, features=0.0, labels=0.3), Classify()
    )
    with torch.no_grad():
        answers = -(shown * small(x).log_softmax(1)).sum(1).mean()
    expected = 0.7 * 9 * (p * (p / q).log()).sum(1).mean() + 0.3 * answers
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.fixture
def another_precision() -> Iterator[None]:
    """Accelerate holds one precision for a process: what it knows is forgotten before and after."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.usefixtures("another_precision")
@pytest.mark.parametrize(("precision", "used"), [("no", torch.float32), ("bf16", torch.bfloat16)])
def test_the_teacher_works_in_the_precision_of_the_student(precision: str, used: torch.dtype, tmp_path: Path) -> None:
    dense, seen = make_vit(), set[torch.dtype]()
    dense.get_submodule("blocks.0.attn.qkv").register_forward_hook(lambda _m, _args, output: seen.add(output.dtype))
    spec = DistillSpec(epochs=1, batch_size=8, precision=precision)
    distill(student(), dense, pictures(8), spec, TRANSFORM, tmp_path)
    assert seen == {used}


def test_labels_alone_are_plain_fine_tuning(tmp_path: Path) -> None:
    """With a teacher that knows nothing, the student learns the labels all the same."""
    labels = np.arange(40) % 2
    pixels = (255 * labels[:, None, None, None] * np.ones((1, 16, 16, 3))).astype(np.uint8)
    images = ArrayImages(pixels, labels, ("black", "white", "a", "b", "c"))
    spec = replace(SPEC, epochs=4, labels=1.0, features=0.0, mix=0.0)
    taught = distill(student(), make_vit(seed=7), images, spec, TRANSFORM, tmp_path)
    x = torch.stack([torch.full((3, 16, 16), value) for value in (-1.0, 1.0)])
    with torch.no_grad():
        assert taught(x).argmax(1).tolist() == [0, 1]


def test_bad_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"distill.mix is 1.5, but must be from 0 to 1"):
        DistillSpec(mix=1.5)
    with pytest.raises(RecipeError, match="precision is 'fp8'"):
        DistillSpec(precision="fp8")
    with pytest.raises(RunError, match="as a multiple of 3"):
        distill(student(), make_vit(), pictures(), DistillSpec(epochs=1, accumulate=3), TRANSFORM, tmp_path)
    normalised = nn.Sequential(nn.Flatten(), nn.Linear(768, 5), nn.BatchNorm1d(5))
    with pytest.raises(RunError, match="leaves one image to each process and part"):
        distill(normalised, make_vit(), pictures(), DistillSpec(epochs=1, batch_size=2, accumulate=2), TRANSFORM)
    with pytest.raises(DataError, match="40 images are fewer"):
        distill(student(), make_vit(), pictures(), DistillSpec(epochs=1, batch_size=64), TRANSFORM, tmp_path)


def test_one_program_may_distil_in_several_precisions(tmp_path: Path) -> None:
    for precision in ("bf16", "no"):
        spec = replace(SPEC, epochs=1, precision=precision)
        taught = distill(student(), make_vit(), pictures(), spec, TRANSFORM, tmp_path)
        assert AcceleratorState().mixed_precision == precision
        assert torch.isfinite(weights(taught)).all()


class Branches(nn.Module):
    """Two branches whose features come as a list, as CrossViT's do."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.head = nn.Linear(12, 6), nn.Linear(12, 4), nn.Linear(10, 5)

    def forward_features(self, x: Tensor) -> list[Tensor]:
        x = F.adaptive_avg_pool2d(x, 2).flatten(1)
        return [self.one(x), self.two(x)]

    def forward_head(self, features: list[Tensor]) -> Tensor:
        out: Tensor = self.head(torch.cat(features, 1))
        return out

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))


def test_features_of_several_branches_count_where_their_widths_agree(tmp_path: Path) -> None:
    torch.manual_seed(0)
    small, dense = Branches(), Branches()
    small.two, small.head = nn.Linear(12, 3), nn.Linear(9, 5)  # pruned
    x, shown = torch.randn(3, 3, 16, 16), torch.rand(3, 5).softmax(1)
    without, found = (
        loss_of(Outputs(small), Outputs(dense), x, shown, DistillSpec(features=share), Classify())
        for share in (0.0, 0.5)
    )
    (a, _), (b, _) = dense.forward_features(x), small.forward_features(x)
    torch.testing.assert_close(found, without + 0.5 * ((a - b).square().mean(1) / a.var(1)).mean())
    taught = distill(small, dense, pictures(8), DistillSpec(epochs=1, batch_size=4), TRANSFORM, tmp_path)
    assert not torch.equal(weights(taught), weights(small))


def test_what_is_frozen_is_named_and_stays(tmp_path: Path) -> None:
    small, dense = student(), make_vit()
    spec = DistillSpec(epochs=1, batch_size=20)
    small.requires_grad_(False)
    with pytest.raises(ModelError, match=r"all \d+ parameters .* are frozen.*requires_grad_\(True\)"):
        distill(small, dense, pictures(), spec, TRANSFORM, tmp_path)
    small.get_submodule("head").requires_grad_(True)
    said: list[str] = []
    taught = distill(small, dense, pictures(), spec, TRANSFORM, tmp_path, say=said.append)
    assert "parameters are frozen and stay as they are: cls_token to norm.bias" in said[0]
    changed = {name for name, value in taught.named_parameters() if not torch.equal(value, small.get_parameter(name))}
    assert changed == {"head.weight", "head.bias"}


def test_models_of_more_than_images_are_refused_in_a_sentence() -> None:
    with pytest.raises(ModelError, match=r"the Towers takes pixels, ids.*: wrap both models in a module"):
        distill(towers(), towers(), pictures(16), SPEC, TRANSFORM)
