"""Fixtures that many tests share: small models and random images; one thread, on which small cases are fastest."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn

from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Groups
from tests.exporter import keep_the_tables
from tests.postgresql import postgresql as postgresql  # a fixture

torch.set_num_threads(1)
gc.set_threshold(50_000)  # graphs of models are many small objects, and looking through all of them often takes long


def make_vit(seed: int = 0, **kwargs: object) -> nn.Module:
    """A small timm ViT (two blocks, three heads of 16) with weights large enough that every unit matters."""
    torch.manual_seed(seed)
    settings = {"img_size": 16, "patch_size": 4, "embed_dim": 48, "depth": 2, "num_heads": 3, "num_classes": 5}
    model = timm.create_model("vit_tiny_patch16_224", **{**settings, **kwargs}).eval()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.15)
        else:
            parameter.data += 0.1 * torch.randn_like(parameter)
    return model


@pytest.fixture(scope="session", autouse=True)
def _state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What programs of a user note down is noted in the session's folder, by all of its processes."""
    own = tmp_path_factory.getbasetemp()
    folder = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))
        yield


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """The same random numbers for a test, whichever tests ran before it."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _uncollected(monkeypatch: pytest.MonkeyPatch) -> None:
    """No garbage is collected before a measurement: that of all tests takes longer than what one of them measures."""
    monkeypatch.setattr(gc, "collect", lambda generation=2: 0)  # PyTorch names one


@pytest.fixture(autouse=True)
def _exporter() -> None:
    keep_the_tables()


@pytest.fixture
def vit() -> nn.Module:
    return make_vit()


@pytest.fixture(scope="session")
def vit_groups() -> Groups:
    """The groups of `vit`, and of any model of its structure."""
    return find_groups(make_vit(), torch.zeros(1, 3, 16, 16))


@pytest.fixture
def batches() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randn(4, 3, 16, 16, generator=generator), torch.randint(5, (4,), generator=generator)) for _ in range(3)
    ]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real weights and images; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("SECATEUR_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not (folder / "weights").is_dir():
        pytest.skip("the real weights and images (SECATEUR_DATA, or ../shared/data) are not on this machine")
    return folder
