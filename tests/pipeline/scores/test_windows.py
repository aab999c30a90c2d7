"""Samples that are not the rows of a batch: windows one after another, tokens first; scores count each with its own."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import Tensor, nn

from secateur.core.errors import PlanError
from secateur.pipeline.scores.score import score
from secateur.pipeline.statistics.capture import along
from secateur.pipeline.statistics.mask_hooks import multiplied
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Groups

KWARGS = {"img_size": 16, "patch_size": 2, "window_size": 4, "embed_dim": 16, "depths": (2, 1), "num_heads": (2, 4)}


@pytest.fixture(scope="module")
def swin() -> tuple[nn.Module, Groups]:
    """A Swin of two stages, with shifted windows and patch merging, and its groups."""
    torch.manual_seed(0)
    model = timm.create_model("swin_tiny_patch4_window7_224", num_classes=5, **KWARGS).eval()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.15)
    return model, find_groups(model, torch.zeros(1, 3, 16, 16))


@pytest.mark.parametrize("method", ["activation", "taylor", "integrated_gradients", "lrp"])
def test_the_batch_size_does_not_matter_to_windows(
    method: str, swin: tuple[nn.Module, Groups], batches: list[tuple[Tensor, Tensor]]
) -> None:
    single = [(x[i : i + 1], y[i : i + 1]) for x, y in batches for i in range(len(x))]
    alone = score(*swin, single, method).values
    for name, value in score(*swin, batches, method).values.items():
        torch.testing.assert_close(value, alone[name], rtol=1e-3, atol=1e-7)


class SequenceFirst(nn.Module):
    """Tokens before samples, laid together by a layer, and inside PyTorch's attention of other tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.mixed = nn.Conv2d(3, 12, 8, 8), nn.Linear(12, 12)
        self.layer = nn.TransformerEncoderLayer(12, 3, 16, dropout=0.0)
        self.queries = nn.Parameter(torch.randn(5, 1, 8))
        self.other = nn.MultiheadAttention(8, 2, kdim=12, vdim=12)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.stem(x).flatten(2).permute(2, 0, 1)
        tokens = torch.relu(self.mixed(tokens.reshape(-1, 12))).view_as(tokens)
        tokens = self.layer(tokens)
        queries = self.queries.expand(-1, x.shape[0], -1)
        found: Tensor = self.head(self.other(queries, tokens, tokens, need_weights=False)[0].mean(0))
        return found


@pytest.fixture(scope="module")
def sequence_first() -> tuple[nn.Module, Groups]:
    torch.manual_seed(0)
    model = SequenceFirst().eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.4)
    return model, find_groups(model, torch.zeros(1, 3, 16, 16))


@pytest.mark.parametrize("method", ["activation", "taylor", "integrated_gradients"])
def test_the_batch_size_does_not_matter_where_samples_are_not_first(
    method: str, sequence_first: tuple[nn.Module, Groups], batches: list[tuple[Tensor, Tensor]]
) -> None:
    single = [(x[i : i + 1], y[i : i + 1]) for x, y in batches for i in range(len(x))]
    alone = score(*sequence_first, single, method).values
    assert {"layer.hidden", "other.qk", "other.v"} <= alone.keys()
    for name, value in score(*sequence_first, batches, method).values.items():
        assert value.std() > 0
        torch.testing.assert_close(value, alone[name], rtol=1e-3, atol=1e-7)


def test_masks_of_a_sample_are_its_own_where_samples_are_not_first(sequence_first: tuple[nn.Module, Groups]) -> None:
    model, groups = sequence_first
    x, draws = torch.randn(3, 3, 16, 16), torch.Generator().manual_seed(0)
    masks = {group.name: torch.rand(3, group.units, generator=draws) for group in groups}
    with torch.no_grad(), multiplied(model, groups, masks):
        together = model(x)
    for number in range(3):
        with torch.no_grad(), multiplied(model, groups, {name: mask[number] for name, mask in masks.items()}):
            torch.testing.assert_close(together[number], model(x[number : number + 1])[0], rtol=1e-4, atol=1e-5)


def test_windows_of_a_sample_are_its_own() -> None:
    values = torch.arange(24.0).reshape(4, 3, 2)  # two samples of two windows of three tokens of two units
    found = along(values, -1, 2)
    assert found.shape == (2, 2, 6)
    assert found[0, 1].tolist() == [1, 3, 5, 7, 9, 11]
    torch.testing.assert_close(along(values.movedim(2, 1), 1, 2), found)
    with pytest.raises(PlanError, match="4 windows of 3 images"):
        along(values, -1, 3)
