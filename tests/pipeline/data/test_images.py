"""Image files of every mode are read, and those that cannot be read are named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from secateur.core.errors import DataError
from secateur.pipeline.data.images import FileImages
from tests.pipeline.data.sources import pixels


def files(*paths: Path) -> FileImages:
    return FileImages(paths, np.zeros(len(paths), dtype=np.int64), ("a",))


def test_sixteen_bits_keep_their_upper_byte(tmp_path: Path) -> None:
    values = np.array([[0, 255, 256], [40000, 65535, 512]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "deep.png")
    image = files(tmp_path / "deep.png").read(0)
    assert image.mode == "L"
    assert np.array_equal(np.asarray(image), (values >> 8).astype(np.uint8))


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1", "LA", "CMYK"])
def test_every_usual_mode_is_read(mode: str, tmp_path: Path) -> None:
    path = tmp_path / ("x.tif" if mode == "CMYK" else "x.png")
    Image.fromarray(pixels(1)[0]).convert(mode).save(path)
    assert files(path).read(0).convert("RGB").size == (8, 8)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_a_truncated_image_is_named(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"half.{suffix}"
    Image.fromarray(pixels(1, 64)[0]).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=rf"cannot read the image .*half.{suffix}: .*; replace the file"):
        files(path).read(0)


def test_what_is_no_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("not an image")
    (tmp_path / "empty.png").touch()
    Image.fromarray(np.zeros((2, 2), dtype=np.float32)).save(tmp_path / "float.tif")
    for name, reason in (
        ("text.png", "no image in a known format"),
        ("empty.png", "no image in a known format"),
        ("float.tif", "floating-point"),
        ("absent.png", "No such file"),
    ):
        with pytest.raises(DataError, match=rf"{name}: .*{reason}"):
            files(tmp_path / name).read(0)
    with pytest.raises(DataError, match=r"absent\.png"):
        files(tmp_path / "absent.png").fingerprint()


def test_labels_and_order_change_the_fingerprint(tmp_path: Path) -> None:
    for i, image in enumerate(pixels(2)):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    paths = [tmp_path / "0.png", tmp_path / "1.png"]
    prints = {
        FileImages(order, np.array(labels), ("a", "b")).fingerprint()
        for order, labels in ((paths, [0, 1]), (paths[::-1], [0, 1]), (paths, [0, 0]), (paths, [1, 0]))
    }
    assert len(prints) == 4
