"""Window attention: a sample's windows lie one after another in the batch, and scores count them with the sample."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import Tensor, nn

from secateur.core.errors import PlanError
from secateur.pipeline.scores.score import score
from secateur.pipeline.statistics.capture import along
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


def test_windows_of_a_sample_are_its_own() -> None:
    values = torch.arange(24.0).reshape(4, 3, 2)  # two samples of two windows of three tokens of two units
    found = along(values, -1, 2)
    assert found.shape == (2, 2, 6)
    assert found[0, 1].tolist() == [1, 3, 5, 7, 9, 11]
    torch.testing.assert_close(along(values.movedim(2, 1), 1, 2), found)
    with pytest.raises(PlanError, match="4 windows of 3 images"):
        along(values, -1, 3)
