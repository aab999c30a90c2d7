"""Loaders: the same batches every time, cached within their bound, and errors that name the image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from secateur.core.errors import DataError
from secateur.pipeline.data.dataset import open_data
from secateur.pipeline.data.images import ArrayImages
from secateur.pipeline.data.loader import Loader
from tests.pipeline.data.sources import pixels, write_folder

IMAGES = ArrayImages(pixels(11, 4), np.arange(11) % 3, ("a", "b", "c"))


class Count:
    """A transform that counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, image: Image.Image) -> Tensor:
        self.calls += 1
        return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).float() / 255


@given(
    batch_size=st.integers(1, 15),
    indices=st.none() | st.lists(st.integers(0, 10), min_size=1, max_size=20),
    cache_bytes=st.sampled_from([0, 700, 1 << 30]),
)
def test_batches_are_the_images_in_order_every_time(
    batch_size: int, indices: list[int] | None, cache_bytes: int
) -> None:
    loader = Loader(IMAGES, Count(), batch_size, indices, cache_bytes)
    order = list(range(11)) if indices is None else indices
    expected = torch.from_numpy(IMAGES.pixels[order]).permute(0, 3, 1, 2).float() / 255
    for _ in range(2):
        batches = list(loader)
        assert len(batches) == len(loader)
        assert [len(x) for x, _ in batches[:-1]] == [batch_size] * (len(loader) - 1)
        assert torch.equal(torch.cat([x for x, _ in batches]), expected)
        assert torch.cat([y for _, y in batches]).tolist() == IMAGES.labels[order].tolist()
        assert batches[0][0].dtype == torch.float32
        assert batches[0][1].dtype == torch.int64
        for x, y in batches:  # what a caller does to a batch must not reach the cache or the labels
            x.zero_()
            y.zero_()
    assert loader.samples == len(order)


@pytest.mark.parametrize(
    ("room", "computed_again"),
    [(11, 0), (0, 11), (5, 6), (3, 8)],  # 5: two batches of two, and the last one of one image; 3: one and the last
)
def test_the_cache_keeps_to_its_bound(room: int, computed_again: int) -> None:
    transform = Count()
    loader = Loader(IMAGES, transform, 2, cache_bytes=room * 3 * 4 * 4 * 4)
    list(loader)
    list(loader)
    assert transform.calls == 11 + computed_again


@pytest.mark.parametrize(
    ("batch_size", "indices", "message"),
    [
        (0, None, "batch size is 0"),
        (2, [], "no images to load"),
        (2, [3, 11], "image 11 was"),
        (2, [-1, 3], "image -1 was"),
    ],
)
def test_bad_arguments_are_one_sentence(batch_size: int, indices: list[int] | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Loader(IMAGES, Count(), batch_size, indices)


def test_an_unreadable_image_is_named(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    (folder / "class_1" / "3.png").write_bytes(b"broken")
    data = open_data(str(folder))
    with pytest.raises(DataError, match=r"class_1/3\.png"):
        for side in (data.calibration, data.evaluation):
            list(Loader(side, Count()))
