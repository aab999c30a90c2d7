"""Learned masks: against a slow loop from the definition, after a stop, on two processes, and where they lead."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from accelerate import PartialState
from torch import Tensor, nn

from secateur.core.errors import DataError, PlanError
from secateur.core.modules import frozen
from secateur.pipeline.scores.score import score
from secateur.pipeline.scores.xmask.learn import CHECKPOINT, RANK, census
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Groups
from tests.conftest import make_vit
from tests.pipeline.data.test_shuffled import numbered
from tests.ranks import two_ranks_work

Batches = list[tuple[Tensor, Tensor]]
HIDDEN = "blocks.1.mlp.hidden"


def images(count: int = 12, seed: int = 1) -> Batches:
    generator = torch.Generator().manual_seed(seed)
    return [(torch.randn(count, 3, 16, 16, generator=generator), torch.arange(count) % 5)]


def test_a_slow_loop_learns_the_same(vit: nn.Module, vit_groups: Groups) -> None:
    """Two steps on one batch: a mask for each sample by a hook, the loss as written in the paper, Adam by hand."""
    (batch,) = images()
    options = {"sparsity": 0.03, "smoothness": 0.2, "lr": 0.05}
    found = score(vit, vit_groups, [batch], "xmask", kinds=["mlp_hidden"], epochs=2, **options).values
    names = [group.name for group in vit_groups if group.kind == "mlp_hidden"]
    mask = {name: torch.ones(5, 192, requires_grad=True) for name in names}
    adam = torch.optim.Adam(mask.values(), lr=0.05)
    for step in range(2):
        adam.param_groups[0]["lr"] = 0.05 * (1.0, 0.5)[step]
        adam.zero_grad()
        loss = torch.zeros(())
        for image, label in zip(*batch, strict=True):
            handles = [
                vit.get_submodule(name.replace("hidden", "fc2")).register_forward_pre_hook(
                    lambda _m, args, row=mask[name][label]: (args[0] * row,)
                )
                for name in names
            ]
            with frozen(vit):
                loss = loss + F.cross_entropy(vit(image[None]), label[None]) / 12
            for handle in handles:
                handle.remove()
        for values in mask.values():
            loss = loss + 0.03 * values.square().sum() / 5 + 0.2 * (values[1:] - values[:-1]).square().sum() / 4
        loss.backward()
        adam.step()
    for name in names:
        torch.testing.assert_close(found[name], mask[name].detach(), rtol=1e-4, atol=1e-4)


def test_a_unit_that_nobody_reads_fades_and_one_that_a_class_needs_stays(vit: nn.Module, vit_groups: Groups) -> None:
    """With the model's own answers as labels, only sparsity moves an unread unit."""
    fc2, head = vit.get_submodule("blocks.1.mlp.fc2"), vit.get_submodule("head")
    with torch.no_grad():
        fc2.weight[:, 11] = 0
        vit.get_submodule("blocks.1.mlp.fc1").bias[20] = 3.0  # always on, and it speaks for class 2 alone
        fc2.weight[:, 20] = 2.0 * head.weight[2] / head.weight[2].norm()
    x = images(60)[0][0]
    with torch.no_grad():
        labels = vit(x).argmax(1)
    assert 2 in labels
    other = int(next(label for label in labels if label != 2))
    found = score(
        vit, vit_groups, [(x, labels)], "xmask", kinds=["mlp_hidden"], epochs=15, sparsity=1e-2, smoothness=0.0
    )
    mask = found.values[HIDDEN]
    assert mask[2, 11] < 0.95
    assert mask[2, 20] > mask[2, 11] + 0.05
    assert mask[2, 20] > mask[other, 20] + 0.05
    assert found.by_unit(HIDDEN).shape == (192,)


def test_classes_without_images_score_zero_and_other_kinds_nothing(vit: nn.Module, vit_groups: Groups) -> None:
    (x, labels), *_ = images()
    found = score(vit, vit_groups, [(x[labels != 3], labels[labels != 3])], "xmask", kinds=["head", "qk_dim"]).values
    assert set(found) == {group.name for group in vit_groups if group.kind in ("head", "qk_dim")}
    for value in found.values():
        assert value.shape[0] == 5
        assert not value[3].any()
        assert value[[0, 1, 2, 4]].all()


def test_masks_larger_than_the_model_are_of_a_low_rank_and_it_says_so(vit: nn.Module, vit_groups: Groups) -> None:
    wide = make_vit(num_classes=300)
    groups, said = find_groups(wide, torch.zeros(1, 3, 16, 16)), list[str]()
    low = score(wide, groups, images(), "xmask", epochs=1, say=said.append).values
    assert f"learned at rank {RANK}" in said[0]
    seen = torch.cat([value[:5] for value in low.values()], 1)
    assert torch.linalg.matrix_rank(seen - seen.mean(0), atol=1e-5) <= RANK
    said.clear()
    score(wide, groups, images(), "xmask", epochs=1, rank=0, say=said.append)
    assert len(said) == 1 and said[0].startswith("masks: step 1 of 1")
    said.clear()
    score(vit, vit_groups, images(), "xmask", epochs=1, say=said.append)
    assert not any("rank" in message for message in said)


def test_a_stopped_training_goes_on_to_the_same_masks(vit: nn.Module, vit_groups: Groups, tmp_path: Path) -> None:
    settings = {"epochs": 3, "batch_size": 5, "checkpoint_steps": 2, "kinds": ["mlp_hidden", "head"]}
    whole = score(vit, vit_groups, images(), "xmask", **settings).values
    said: list[str] = []

    def stop(message: str) -> None:
        said.append(message)
        if message.startswith("masks: step 6 "):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score(vit, vit_groups, images(), "xmask", say=stop, folder=tmp_path, **settings)
    assert torch.load(tmp_path / CHECKPOINT, weights_only=True)["steps"] == 4
    said.clear()
    resumed = score(vit, vit_groups, images(), "xmask", say=said.append, folder=tmp_path, **settings).values
    assert said[0].startswith("masks: step 5 of 9")
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_of_other_images_is_not_used(vit: nn.Module, vit_groups: Groups, tmp_path: Path) -> None:
    said: list[str] = []

    def stop(message: str) -> None:
        said.append(message)
        if message.startswith("masks: step 2 "):
            raise KeyboardInterrupt

    for seed in (1, 2):
        said.clear()
        with pytest.raises(KeyboardInterrupt):
            score(vit, vit_groups, images(seed=seed), "xmask", say=stop, folder=tmp_path, checkpoint_steps=1)
        assert said[0].startswith("masks: step 1 of 10")


def test_half_precision_comes_close(vit: nn.Module, vit_groups: Groups) -> None:
    full, half = (
        score(vit, vit_groups, images(), "xmask", epochs=4, precision=word).values[HIDDEN] for word in ("no", "bf16")
    )
    assert not torch.equal(full, half)
    assert torch.corrcoef(torch.stack([full.flatten(), half.flatten()]))[0, 1] > 0.8


def learned() -> dict[str, Tensor]:
    vit = make_vit()
    groups = find_groups(vit, torch.zeros(1, 3, 16, 16))
    return dict(score(vit, groups, images(), "xmask", kinds=["mlp_hidden"], epochs=2, batch_size=5).values)


def work(folder: Path) -> None:
    """One of two processes, as a launcher would start it."""
    found, state = learned(), PartialState()
    assert state.num_processes == 2
    torch.save(found, folder / f"{state.process_index}.pt")


def test_two_processes_learn_what_one_learns(tmp_path: Path) -> None:
    two_ranks_work(__name__, tmp_path)
    both = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    for name, value in learned().items():
        assert torch.equal(both[0][name], both[1][name])
        gaps = (value - both[0][name]).abs()  # Adam turns rounding of a vanishing gradient into whole steps
        assert gaps.mean() < 1e-2 * (value - 1).abs().mean()


def test_the_census_counts_labels_and_tells_images_apart() -> None:
    found = census(numbered(6, 4))
    assert (found.samples, found.labels) == (6, (0, 1, 2, 3, 4, 5))
    assert found == census(numbered(6, 2))
    other = numbered(6, 4)
    other[0][0][1] += 1
    assert census(other).identity != found.identity
    with pytest.raises(DataError, match="no images to learn masks from"):
        census([])


def test_what_cannot_be_learned_is_refused(vit: nn.Module, vit_groups: Groups) -> None:
    with pytest.raises(PlanError, match="no units of the kinds channel"):
        score(vit, vit_groups, images(), "xmask", kinds=["channel"])
    (x, labels), *_ = images()
    with pytest.raises(DataError, match="labels go from 0 to 9, but the model has 5 classes"):
        score(vit, vit_groups, [(x, labels + torch.arange(12) // 8 * 5)], "xmask")
