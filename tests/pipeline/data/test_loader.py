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
from torch.utils.data import DataLoader

from secateur.core.errors import DataError
from secateur.pipeline.data.dataset import open_data
from secateur.pipeline.data.images import ArrayImages
from secateur.pipeline.data.loader import Loader, any_batches
from secateur.pipeline.data.transform import Transform
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


class _Pairs(torch.utils.data.Dataset[tuple[Tensor, int]]):
    def __len__(self) -> int:
        return 5

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        if i >= len(self):
            raise IndexError
        return torch.full((3, 2, 2), float(i)), i


def test_any_iterable_of_pairs_is_a_loader() -> None:
    plain = [(torch.zeros(2, 3, 2, 2), torch.tensor([0, 1])), (torch.ones(1, 3, 2, 2), torch.tensor([2]))]
    for given_, sizes in ((plain, [2, 1]), (DataLoader(_Pairs(), batch_size=3), [3, 2])):
        batches = any_batches(given_)
        for _ in range(2):
            assert [len(images) for images, _ in batches] == sizes
        assert torch.cat([labels for _, labels in batches]).tolist() == list(range(sum(sizes)))
    loader = Loader(IMAGES, Count())
    assert any_batches(loader) is loader
    assert any_batches(batches) is batches


@pytest.mark.parametrize("labels", [[1, 0], np.array([1, 0], dtype=np.uint8), torch.tensor([1, 0], dtype=torch.int32)])
def test_labels_become_a_tensor_of_whole_numbers(labels: object) -> None:
    ((_, found),) = any_batches([(torch.zeros(2, 3, 1, 1), labels)])
    assert found.dtype == torch.int64
    assert found.tolist() == [1, 0]


IMAGE = torch.zeros(2, 3, 1, 1)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (IMAGE, "batch 0 of the loader is a Tensor, but a pair"),
        ({"pixel_values": IMAGE, "labels": [0, 1]}, "is a dict, but a pair"),
        ((IMAGE, [0, 1], [0, 1]), "is 3 things, but a pair"),
        ((np.zeros((2, 3)), [0, 1]), "images that are a ndarray"),
        ((IMAGE.byte(), [0, 1]), r"images that are torch.uint8 \[2, 3, 1, 1\]"),
        ((IMAGE, ["cat", "dog"]), "labels that are no numbers"),
        ((IMAGE, torch.zeros(2)), "labels that are torch.float32"),
        ((IMAGE, torch.zeros(2, 10, dtype=torch.long)), r"\[2, 10\], but one class number"),
        ((IMAGE, [0]), "2 images and 1 labels"),
    ],
)
def test_a_batch_that_is_something_else_is_refused(batch: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        list(any_batches([batch]))


def test_an_iterator_is_refused_before_it_is_read() -> None:
    with pytest.raises(DataError, match="a generator can be read only once"):
        any_batches(batch for batch in [(IMAGE, [0, 1])])
    with pytest.raises(DataError, match="a int is no loader"):
        any_batches(3)  # type: ignore[arg-type]


def test_what_is_kept_in_eight_bits_is_what_the_transform_makes_of_each_image() -> None:
    transform = Transform((3, 3, 3), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), crop_pct=0.9)
    every = torch.stack([transform(IMAGES.read(i)) for i in range(11)])
    loader = Loader(IMAGES, transform, 2, cache_bytes=5 * 3 * 3 * 3)  # two batches of two and the last one of one
    for _ in range(2):
        assert torch.equal(torch.cat([x for x, _ in loader]), every)
    assert [len(loader._cache[number][0]) for number in sorted(loader._cache)] == [2, 2, 1]
    assert {pixels.dtype for pixels, _ in loader._cache.values()} == {torch.uint8}
