"""Images that both sides hold are found by their bytes, and no copy of one is ever on both sides."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.core.errors import DataError
from secateur.pipeline.data.dataset import open_data
from secateur.pipeline.data.duplicates import shared_images
from secateur.pipeline.data.images import HEAD, ArrayImages, FileImages, Images
from secateur.pipeline.data.spec import DataSpec
from tests.pipeline.data.sources import pixels, write_folder, write_images, write_split_folder


def slowly(one: Images, two: Images) -> list[tuple[int, int]]:
    """The definition: each image of one side with the first of the other that has the same bytes."""
    found = []
    for i in range(len(one)):
        twin = next((j for j in range(len(two)) if one.content(i) == two.content(j)), None)
        if twin is not None:
            found.append((i, twin))
    return found


CONTENTS = st.lists(st.integers(0, 6), max_size=8)


@given(left=CONTENTS, right=CONTENTS)
@settings(max_examples=50, deadline=None)
def test_shared_files_are_those_of_the_same_bytes(
    left: list[int], right: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("files")

    def files(side: str, numbers: list[int]) -> FileImages:
        paths = [folder / f"{side}{i}.png" for i in range(len(numbers))]
        for path, number in zip(paths, numbers, strict=True):
            tail = b"x" * (number // 3) + bytes([number % 3])  # same sizes and same first bytes for some
            path.write_bytes(bytes(HEAD) + tail)
        return FileImages(paths, np.zeros(len(numbers), dtype=np.int64), ("a",))

    one, two = files("left", left), files("right", right)
    assert shared_images(one, two) == slowly(one, two)


def test_shared_arrays_are_those_of_the_same_pixels() -> None:
    labels = np.zeros(6, dtype=np.int64)
    one = ArrayImages(pixels(6), labels, ("a",))
    two = ArrayImages(np.concatenate([pixels(3, seed=1), pixels(6)[[4, 4, 0]]]), labels, ("a",))
    assert shared_images(one, two) == slowly(one, two) == [(0, 5), (4, 3)]
    grey = ArrayImages(pixels(6, channels=1), labels, ("a",))
    assert shared_images(one, grey) == []


def test_few_files_are_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_split_folder(tmp_path)
    shutil.copy(folder / "train" / "class_0" / "0.png", folder / "val" / "class_2" / "copy.png")
    read: list[Path] = []
    whole = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read.append(path) or whole(path))  # type: ignore[func-returns-value]
    with pytest.raises(DataError, match="share 1 images"):
        open_data(str(folder))
    assert sorted(path.name for path in read) == ["0.png", "copy.png"]


def with_copies(folder: Path, count: int) -> Path:
    """A split folder whose first training images lie in val/ too, under other names and in another class."""
    write_split_folder(folder)
    for i in range(count):
        shutil.copy(folder / "train" / "class_0" / f"{i}.png", folder / "val" / "class_1" / f"copy{i}.png")
    return folder


def test_copies_on_both_sides_are_refused_by_what_they_hold(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        open_data(str(with_copies(tmp_path, 2)))
    assert str(caught.value) == (
        f"calibration and evaluation share 2 images, byte by byte (first {tmp_path}/train/class_0/0.png and "
        f"{tmp_path}/val/class_1/copy0.png), but images that judge the result must not serve to compute it: "
        "remove them from one side, or set data.duplicates=drop"
    )


def test_copies_can_be_dropped_from_the_calibration_images(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = open_data(DataSpec(path=str(with_copies(tmp_path, 2)), duplicates="drop"))
    assert (len(data.calibration), len(data.evaluation)) == (13, 17)
    assert shared_images(data.calibration, data.evaluation) == []
    assert "2 calibration images are left out, since they are evaluation images too" in caplog.text


def test_a_whole_side_is_not_dropped(tmp_path: Path) -> None:
    write_folder(tmp_path / "train")
    write_folder(tmp_path / "val")
    with pytest.raises(DataError, match=r"share 15 images.*give two different sources"):
        open_data(DataSpec(path=str(tmp_path), duplicates="drop"))


@pytest.mark.parametrize("seed", range(4))
def test_our_own_split_keeps_copies_on_one_side(seed: int, tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        write_images(tmp_path / name, 10)
        for i in range(4):
            shutil.copy(tmp_path / name / f"{i}.png", tmp_path / name / f"copy{i}.png")
    data = open_data(DataSpec(path=str(tmp_path), held_out=0.5), seed)
    assert len(data.calibration) + len(data.evaluation) == 28
    assert len(data.evaluation) > 0
    assert shared_images(data.calibration, data.evaluation) == []


def test_a_source_of_copies_alone_cannot_be_split(tmp_path: Path) -> None:
    image = pixels(1)
    np.savez(tmp_path / "x.npz", images=np.concatenate([image] * 8), labels=np.arange(8) % 2)
    with pytest.raises(DataError, match="or copies of it, so that none can be held out"):
        open_data(str(tmp_path / "x.npz"))
