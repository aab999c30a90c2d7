"""The pieces of the protocol of Pruning by eXplaining that need neither real weights nor the published code."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from secateur_studies.pxp_authors import published, torchvision_twin
from secateur_studies.pxp_protocol import of_classes, restricted
from torch import nn

from secateur.core.errors import BenchError


def test_a_restricted_model_has_the_logits_of_its_classes(vit: nn.Module) -> None:
    images = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(restricted(vit, [3, 0])(images), vit(images)[:, [3, 0]])


def test_the_weights_of_timm_carry_over_to_torchvision(vit: nn.Module) -> None:
    images = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(torchvision_twin(vit)(images), vit(images), rtol=1e-4, atol=1e-4)


def test_images_of_the_classes_alone_are_drawn() -> None:
    labels = torch.arange(5).repeat(4).numpy()
    drawn = of_classes(labels, [4, 1], 3, 0)
    assert sorted(labels[drawn].tolist()) == [1, 1, 1, 4, 4, 4]


def test_published_code_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="give a checkout of erfanhatefi/"):
        published(tmp_path)
