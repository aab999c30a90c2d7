"""Classes are in timm's order, in every source that knows them by name."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from timm.data import create_dataset
from timm.data.readers.reader_image_folder import ReaderImageFolder
from timm.utils.misc import natural_key
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision.transforms.functional import to_tensor

from secateur.pipeline.analysis.accuracy import accuracy
from secateur.pipeline.data.arrays import array_images
from secateur.pipeline.data.class_order import in_order
from secateur.pipeline.data.dataset import open_data
from secateur.pipeline.data.folder import open_folder
from secateur.pipeline.data.images import FileImages, Images
from secateur.pipeline.data.labels_csv import open_labels_csv
from secateur.pipeline.data.loader import Loader
from tests.pipeline.data.sources import pixels, write_csv, write_images

NAMES = st.text("aAbBz019-_ é٣", min_size=1, max_size=6).filter(
    lambda name: name == name.strip() and not name.startswith("__")
)
TEN = tuple(f"class{number}" for number in range(1, 11))
SHUFFLED = tuple(TEN[i] for i in np.random.default_rng(0).permutation(10))


def by_name(images: Images) -> dict[str, str]:
    """For the name of each file the name of its class."""
    assert isinstance(images, FileImages)
    return {str(path): images.classes[label] for path, label in zip(images.paths, images.labels.tolist(), strict=True)}


@given(st.lists(st.lists(NAMES, min_size=1, max_size=3).map(tuple), min_size=1, max_size=8, unique=True))
@settings(max_examples=60, deadline=None)
def test_a_tree_of_folders_has_the_classes_of_timms_reader(places: list[tuple[str, ...]]) -> None:
    leaves = {place[-1] for place in places}
    assume(len({tuple(natural_key(name)) for name in leaves}) == len(leaves) > 1)  # of equal ones, timm's order is open
    with tempfile.TemporaryDirectory() as folder:
        for place in places:
            write_images(Path(folder, *place), 1)
        theirs = ReaderImageFolder(folder)
        mine = open_folder(Path(folder)).train
        assert mine.classes == tuple(theirs.class_to_idx)
        assert list(theirs.class_to_idx.values()) == list(range(len(mine.classes)))
        names = list(theirs.class_to_idx)
        assert by_name(mine) == {str(Path(path)): names[number] for path, number in theirs.samples}


@given(st.lists(st.text(max_size=5), max_size=8))
def test_names_are_in_the_order_of_timms_natural_key(names: list[str]) -> None:
    found = in_order(names)
    assert sorted(found) == sorted(set(names))
    assert found == in_order(reversed(names))
    try:
        keys = [natural_key(name) for name in found]
    except ValueError:  # timm cannot sort these
        return
    assert keys == sorted(keys)


def test_equal_keys_and_superscripts_have_an_order() -> None:
    assert in_order(["A01", "a1", "a01", "a10", "a2"]) == ("A01", "a01", "a1", "a2", "a10")
    assert in_order(["b", "²", "10", "9"]) == ("9", "10", "b", "²")


def test_class10_comes_last_in_every_source(tmp_path: Path) -> None:
    for name in SHUFFLED:
        write_images(tmp_path / "folder" / name, 2)
        write_images(tmp_path / "split" / "training" / name, 2, seed=1)
        write_images(tmp_path / "split" / "validation" / name, 1, seed=2)
    write_csv(tmp_path / "csv", lambda i: SHUFFLED[i])
    np.savez(tmp_path / "x.npz", images=pixels(20), labels=np.array(SHUFFLED * 2))
    assert open_data(str(tmp_path / "folder")).classes == TEN
    assert open_data(str(tmp_path / "split")).classes == TEN
    assert open_data(str(tmp_path / "x.npz")).classes == TEN
    table = open_labels_csv(tmp_path / "csv").train
    assert table.classes == in_order(SHUFFLED[:3])
    assert [table.classes[label] for label in table.labels] == [SHUFFLED[i % 3] for i in range(15)]
    arrays = array_images(pixels(10), np.array(SHUFFLED), "x")
    assert [arrays.classes[label] for label in arrays.labels] == list(SHUFFLED)


class Levels(nn.Module):
    """A classifier of pictures of one brightness each: class `k` has `20 k`."""

    def forward(self, x: Tensor) -> Tensor:
        return -(255 * x.mean((1, 2, 3))[:, None] - 20 * torch.arange(12)).abs()


def test_a_model_has_the_accuracy_that_it_has_through_timms_dataset(tmp_path: Path) -> None:
    for number in range(12):
        for part in ("training", "validation"):
            folder = tmp_path / part / f"class{number + 1}"
            folder.mkdir(parents=True)
            level = 20 * number + (1 if part == "training" else 0)  # other pictures on the other side
            Image.new("RGB", (8, 8), (level,) * 3).save(folder / "x.png")
    theirs = create_dataset("", root=str(tmp_path), split="validation")
    theirs.transform = to_tensor
    assert accuracy(Levels(), DataLoader(theirs, 5)) == 100.0
    data = open_data(str(tmp_path))
    assert accuracy(Levels(), Loader(data.evaluation, to_tensor)) == 100.0
    assert accuracy(Levels(), Loader(data.calibration, to_tensor)) == 100.0
