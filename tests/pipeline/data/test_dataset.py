"""Every format opens, the two sides share no image and one class list, and bad input is one sentence."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur.core.errors import DataError
from secateur.pipeline.data.dataset import Dataset, open_data
from secateur.pipeline.data.images import Images
from secateur.pipeline.data.registry import find_source, sources
from secateur.pipeline.data.sampling import held_out
from secateur.pipeline.data.spec import DataSpec
from tests.pipeline.data.sources import (
    pixels,
    write_cifar10,
    write_csv,
    write_folder,
    write_idx,
    write_npz,
    write_split_folder,
)

# format: how it is written below a folder, images on both sides, classes, has a split of its own
FORMATS: dict[str, tuple[Callable[[Path], object], tuple[int, int], int, bool]] = {
    "digits": (lambda folder: "digits", (1438, 359), 10, True),
    "folder": (lambda folder: write_folder(folder / "f"), (12, 3), 3, False),
    "split_folder": (lambda folder: write_split_folder(folder / "f"), (15, 15), 3, True),
    "labels_csv": (lambda folder: write_csv(folder / "f"), (12, 3), 3, False),
    "cifar10": (lambda folder: write_cifar10(folder / "f"), (40, 20), 10, True),
    "idx": (lambda folder: write_idx(folder / "f"), (12, 6), 3, True),
    "npz": (lambda folder: write_npz(folder / "f.npz"), (12, 3), 3, False),
}


def contents(images: Images) -> list[str]:
    return [hashlib.sha256(images.read(i).tobytes()).hexdigest() for i in range(len(images))]


@pytest.fixture(params=FORMATS)
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path, Dataset]:
    path = Path(str(FORMATS[request.param][0](tmp_path)))
    return request.param, path, open_data(DataSpec(path=str(path)))


def test_every_registered_format_is_tested() -> None:
    assert {source.name for source in sources()} == set(FORMATS)


def test_a_format_opens_with_disjoint_sides_of_one_class_list(opened: tuple[str, Path, Dataset]) -> None:
    name, path, data = opened
    assert find_source(path).name == name
    assert (len(data.calibration), len(data.evaluation)) == FORMATS[name][1]
    assert data.calibration.classes == data.evaluation.classes == data.classes
    assert len(data.classes) == FORMATS[name][2]
    assert not set(contents(data.calibration)) & set(contents(data.evaluation))
    for side in (data.calibration, data.evaluation):
        assert side.labels.dtype == np.int64
        assert len(side.labels) == len(side)
        assert side.read(len(side) - 1).mode in ("L", "RGB")


def test_the_seed_decides_the_split_unless_the_source_has_one(opened: tuple[str, Path, Dataset]) -> None:
    name, path, data = opened
    same, other = open_data(str(path), seed=0), open_data(str(path), seed=1)
    assert same.calibration.fingerprint() == data.calibration.fingerprint()
    assert same.evaluation.fingerprint() == data.evaluation.fingerprint()
    assert (other.evaluation.fingerprint() == data.evaluation.fingerprint()) == FORMATS[name][3]


def test_subsets_keep_images_labels_and_classes(opened: tuple[str, Path, Dataset]) -> None:
    images = opened[2].calibration
    chosen = images.subset([5, 0])
    assert contents(chosen) == [contents(images)[5], contents(images)[0]]
    assert chosen.labels.tolist() == [images.labels[5], images.labels[0]]
    assert chosen.classes == images.classes
    rest = images.exclude([5, 0])
    assert len(rest) == len(images) - 2
    assert not set(contents(rest)) & set(contents(chosen))
    assert chosen.fingerprint() != rest.fingerprint()
    assert images.subset(range(len(images))).fingerprint() == images.fingerprint()


@given(
    counts=st.lists(st.integers(1, 30), min_size=1, max_size=8), fraction=st.floats(0.01, 0.99), seed=st.integers(0, 99)
)
def test_held_out_takes_its_share_of_each_class(counts: list[int], fraction: float, seed: int) -> None:
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    held = held_out(labels, fraction, seed)
    assert held.tolist() == sorted(set(held.tolist()))
    for label, count in enumerate(counts):
        taken = int((labels[held] == label).sum())
        assert abs(taken - fraction * count) <= 1
        assert (0 < taken < count) or (count == 1 and taken == 0)
    assert np.array_equal(held, held_out(labels, fraction, seed))


def test_one_class_does_not_change_what_is_held_out_of_another() -> None:
    labels = np.repeat([0, 1], 20)
    alone = held_out(labels[20:], 0.3, 7) + 20
    assert np.array_equal(held_out(labels, 0.3, 7)[6:], alone)


def test_a_fingerprint_follows_content_and_not_place(tmp_path: Path) -> None:
    one = open_data(str(write_folder(tmp_path / "one")))
    two = open_data(str(write_folder(tmp_path / "two")))
    assert one.calibration.fingerprint() == two.calibration.fingerprint()
    changed = write_folder(tmp_path / "three")
    for file in changed.rglob("*.png"):
        file.write_bytes(file.read_bytes() + b"\0")
    assert open_data(str(changed)).calibration.fingerprint() != one.calibration.fingerprint()


def test_numbered_labels_share_the_longer_class_list(tmp_path: Path) -> None:
    all_classes = write_csv(tmp_path / "all", lambda i: str(i))
    some = write_csv(tmp_path / "some", lambda i: str(i % 2), seed=1)
    data = open_data(DataSpec(calibration=str(some), evaluation=str(all_classes)))
    assert data.classes == ("0", "1", "2")
    assert data.calibration.labels.max() == 1
    wider = open_data(DataSpec(calibration=str(some), evaluation=str(all_classes), num_classes=7))
    assert wider.classes == tuple("0123456")
    with pytest.raises(DataError, match=r"num_classes is 2, but the labels go up to 2"):
        open_data(DataSpec(calibration=str(some), evaluation=str(all_classes), num_classes=2))
    with pytest.raises(DataError, match=r"num_classes is 4, but the data names 3 classes"):
        open_data(DataSpec(path=str(write_folder(tmp_path / "named")), num_classes=4))


def test_one_image_per_class_can_calibrate(tmp_path: Path) -> None:
    single = write_npz(tmp_path / "single.npz")
    np.savez(single, images=pixels(40), labels=np.arange(40))
    with pytest.raises(DataError, match="single image of each class"):
        open_data(str(single))
    np.savez(tmp_path / "other.npz", images=pixels(9, seed=5), labels=np.arange(9))
    data = open_data(DataSpec(calibration=str(single), evaluation=str(tmp_path / "other.npz")))
    assert (len(data.calibration), len(data.evaluation), len(data.classes)) == (40, 9, 40)


def test_a_pair_takes_the_training_side_of_one_and_the_held_out_side_of_the_other(tmp_path: Path) -> None:
    one = write_split_folder(tmp_path / "one")
    two = write_folder(tmp_path / "two", seed=9)
    data = open_data(DataSpec(calibration=str(one), evaluation=str(two)))
    assert data.calibration.fingerprint() == open_data(str(one)).calibration.fingerprint()
    assert len(data.evaluation) == 15
    assert len(open_data(DataSpec(calibration=str(two), evaluation=str(one))).evaluation) == 15


def _same_path(folder: Path) -> DataSpec:
    path = write_folder(folder / "a")
    return DataSpec(calibration=str(path), evaluation=str(path / ".." / "a"))


def _nested(folder: Path) -> DataSpec:
    write_folder(folder / "a")
    (folder / "b").mkdir()
    for name in ("class_0", "class_1", "class_2"):
        (folder / "b" / name).symlink_to(folder / "a" / name)
    return DataSpec(calibration=str(folder / "a"), evaluation=str(folder / "b"))


def _copied_arrays(folder: Path) -> DataSpec:
    return DataSpec(calibration=str(write_npz(folder / "a.npz")), evaluation=str(write_npz(folder / "b.npz")))


def _other_classes(folder: Path) -> DataSpec:
    write_split_folder(folder)
    shutil.move(folder / "val" / "class_1", folder / "val" / "class_x")
    return DataSpec(path=str(folder))


def _fewer_classes(folder: Path) -> DataSpec:
    write_split_folder(folder)
    shutil.rmtree(folder / "val" / "class_1")
    return DataSpec(path=str(folder))


def _empty_class(folder: Path) -> DataSpec:
    (write_folder(folder) / "class_9").mkdir()
    (folder / "class_9" / "notes.txt").write_text("no image")
    return DataSpec(path=str(folder))


def _all_empty(folder: Path) -> DataSpec:
    (folder / "cat").mkdir()
    return DataSpec(path=str(folder))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_same_path, "calibration and evaluation are both"),
        (_nested, "share 15 images"),
        (_copied_arrays, "share 15 images.*give two different sources"),
        (_other_classes, r"different classes: 3 for calibration, 3 for evaluation, 1 only for calibration .*class_1"),
        (_fewer_classes, "3 for calibration, 2 for evaluation"),
        (_empty_class, r"class folder .*class_9 holds no images"),
        (_all_empty, r"class folder .*cat holds no images"),
    ],
)
def test_bad_input_is_one_sentence(make: Callable[[Path], DataSpec], message: str, tmp_path: Path) -> None:
    spec = make(tmp_path)
    with pytest.raises(DataError, match=message) as caught:
        open_data(spec)
    assert "\n" not in str(caught.value)


def test_a_single_part_of_a_split_folder_is_the_whole_source(tmp_path: Path) -> None:
    write_split_folder(tmp_path)
    shutil.rmtree(tmp_path / "val")
    data = open_data(str(tmp_path))
    assert (len(data.calibration), len(data.evaluation), len(data.classes)) == (12, 3, 3)


def test_real_images_open(real_data: Path) -> None:
    data = open_data(
        DataSpec(calibration=str(real_data / "imagenet-train1000"), evaluation=str(real_data / "imagenet-val1000"))
    )
    assert (len(data.calibration), len(data.evaluation), len(data.classes)) == (1000, 1000, 1000)
    data = open_data(str(real_data / "imagenette"))
    assert (len(data.calibration), len(data.evaluation), len(data.classes)) == (1500, 500, 10)
