"""Images with masks: classes, pixels of none, sizes, and every way in which they can be wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from secateur.core.errors import DataError
from secateur.pipeline.data.dataset import open_data
from secateur.pipeline.data.loader import Loader
from secateur.pipeline.data.masks import open_masks, read_mask
from secateur.pipeline.data.transform import Transform
from tests.pipeline.tasks.small_tasks import SIZE, write_masks

WHOLE = Transform((3, SIZE, SIZE), (0.5,) * 3, (0.5,) * 3, crop_pct=1.0, crop_mode="squash")


def test_masks_are_read_with_their_images(tmp_path: Path) -> None:
    images = open_masks(write_masks(tmp_path)).train
    assert (len(images), images.classes, images.numbered) == (15, ("0", "1", "2"), True)
    _, masks = next(iter(Loader(images, WHOLE, 4)))
    expected = [np.array(Image.open(tmp_path / "masks" / images.paths[i].name)) for i in range(4)]
    assert torch.equal(masks, torch.from_numpy(np.stack(expected)).long())
    assert (masks[:, 0] == 255).all()


def test_a_mask_is_fitted_by_the_nearest_pixel(tmp_path: Path) -> None:
    images = open_masks(write_masks(tmp_path)).train
    assert images.truths is not None
    whole, double = images.truths.read(0, (SIZE, SIZE)), images.truths.read(0, (2 * SIZE, 2 * SIZE))
    assert torch.equal(double, whole.repeat_interleave(2, 0).repeat_interleave(2, 1))


def test_cropping_is_refused(tmp_path: Path) -> None:
    images = open_masks(write_masks(tmp_path)).train
    with pytest.raises(DataError, match="whole=True"):
        Loader(images, Transform((3, SIZE, SIZE), (0.5,) * 3, (0.5,) * 3))


def test_names_of_classes_and_a_palette(tmp_path: Path) -> None:
    write_masks(tmp_path)
    (tmp_path / "classes.txt").write_text("sky\nroad\ncar\nmoon\n")
    palette = Image.fromarray(read_mask(tmp_path / "masks" / "0.png")).convert("P")
    palette.putdata(list(read_mask(tmp_path / "masks" / "0.png").ravel()))
    palette.save(tmp_path / "masks" / "0.png")
    data = open_data(str(tmp_path), labels="masks")
    assert data.classes == ("sky", "road", "car", "moon")
    assert (len(data.calibration), len(data.evaluation)) == (12, 3)


def test_another_mask_is_another_fingerprint(tmp_path: Path) -> None:
    before = open_masks(write_masks(tmp_path)).train.fingerprint()
    Image.fromarray(np.ones((SIZE, SIZE), dtype=np.uint8)).save(tmp_path / "masks" / "3.png")
    assert open_masks(tmp_path).train.fingerprint() != before


def test_what_does_not_fit_is_one_sentence(tmp_path: Path) -> None:
    write_masks(tmp_path)
    mask = tmp_path / "masks" / "0.png"
    whole = mask.read_bytes()
    for picture, message in (
        (Image.new("RGB", (SIZE, SIZE)), "pixels of the mode RGB, but each must be one class number"),
        (Image.new("L", (SIZE, 2)), "is 16 x 2 pixels, but its image 16 x 16"),
    ):
        picture.save(mask)
        with pytest.raises(DataError, match=message):
            open_masks(tmp_path)
    mask.write_bytes(b"no picture")
    with pytest.raises(DataError, match="cannot read the mask"):
        open_masks(tmp_path)
    mask.unlink()
    with pytest.raises(DataError, match=r"has no mask .*masks/0\.png"):
        open_masks(tmp_path)
    mask.write_bytes(whole)
    (tmp_path / "classes.txt").write_text("a\nb\n")
    with pytest.raises(DataError, match=r"has the class 2, but classes\.txt names 0 to 1"):
        open_masks(tmp_path)
    for file in (tmp_path / "images").iterdir():
        file.unlink()
    with pytest.raises(DataError, match="holds no images"):
        open_masks(tmp_path)


def test_masks_of_nothing_are_refused(tmp_path: Path) -> None:
    write_masks(tmp_path)
    for file in (tmp_path / "masks").iterdir():
        Image.new("L", (SIZE, SIZE), 255).save(file)
    with pytest.raises(DataError, match="name no class"):
        open_masks(tmp_path)
