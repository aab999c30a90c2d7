"""Files that claim more than they hold, or than images have: each is one sentence, and nothing large is made of it."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from secateur.core.errors import DataError
from secateur.pipeline.data.bounds import LONGEST_SIDE, MOST_CLASSES, check_label, check_sides, check_unpacked
from secateur.pipeline.data.registry import open_source
from tests.pipeline.data.sources import pixels


def npy(shape: str, kind: str = "|u1", data: bytes = b"") -> bytes:
    """An array whose header says what it likes."""
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


def npz(images: bytes, labels: bytes | None = None, how: int = zipfile.ZIP_STORED) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", how) as archive:
        archive.writestr("images.npy", images)
        archive.writestr("labels.npy", npy("(1,)", data=b"\0") if labels is None else labels)
    return held.getvalue()


def idx(
    count: int, sizes: tuple[int, ...], data: bytes = b"", labels: bytes = bytes((0, 0, 8, 1, 0, 0, 0, 1, 0))
) -> dict[str, bytes]:
    whole = bytes((0, 0, 8, count)) + b"".join(struct.pack(">I", size) for size in sizes) + data
    return {"a-images-idx3-ubyte": whole, "a-labels-idx1-ubyte": bytes((0, 0, 8, 1, 0, 0, 0, 1, 0))}


def zipped(files: dict[str, bytes]) -> dict[str, bytes]:
    return {f"{name}.gz": gzip.compress(data) for name, data in files.items()}


def table(*rows: str, header: str = "file,label") -> dict[str, bytes]:
    return {"labels.csv": "\n".join([header, *rows]).encode(), "a.png": PNG, "b.png": PNG}


def picture(mode: str = "RGB", size: tuple[int, int] = (4, 4), form: str = "PNG") -> bytes:
    held = io.BytesIO()
    Image.new(mode, size).save(held, format=form)
    return held.getvalue()


def batch(labels: object) -> dict[str, bytes]:
    return {"data_batch_1": pickle.dumps({b"data": pixels(2, 32).reshape(2, -1), b"labels": labels})}


def bomb() -> bytes:
    """A pickle of 30 lists, each of which holds the one before ten times."""
    value: object = 0
    for _ in range(30):
        value = [value] * 10
    return pickle.dumps({b"data": value})


PNG = picture()
ONE = npy("(1, 4, 4)", data=bytes(16))
CASES: dict[str, tuple[dict[str, bytes], str]] = {
    "npz of one number": ({"x.npz": npz(npy("()", data=b"\0"))}, r"images of the shape \[\], but \[N, H, W\]"),
    "npz with one label": ({"x.npz": npz(ONE, npy("()", data=b"\0"))}, r"labels of the shape \[\]"),
    "npz of terabytes": ({"x.npz": npz(npy("(1000000, 1000, 1000)"))}, "says that its shape is"),
    "npz of a negative size": ({"x.npz": npz(npy("(-1, 4, 4)"))}, "says that its shape is"),
    "npz with a broken header": ({"x.npz": npz(npy("(1, 4, 4"))}, "cannot read"),
    "npz with a deep header": ({"x.npz": npz(npy("(" * 400 + ")" * 400))}, "cannot read"),
    "packed npz": (
        {"x.npz": npz(npy("(80000000,)", data=bytes(80_000_000)), how=zipfile.ZIP_DEFLATED)},
        "says that it holds 80,000,",
    ),
    "npz with a label of 10^9": ({"x.npz": npz(ONE, npy("(1,)", "<i8", struct.pack("<q", 10**9)))}, "label 1000000000"),
    "npz with a label of 2^63": ({"x.npz": npz(ONE, npy("(1,)", "<u8", struct.pack("<Q", 2**63)))}, "the label 92233"),
    "npz with a strip": ({"x.npz": npz(npy("(1, 1, 600)", data=bytes(600)))}, "600 x 1 pixels, but one side"),
    "idx of no dimension": (idx(0, (), b"\0"), "has 0 dimensions, but 1 to 4 are known"),
    "idx of 70 dimensions": (idx(70, (1,) * 70, b"\0"), "has 70 dimensions, but 1 to 4 are known"),
    "idx beyond the file": (idx(3, (2**20,) * 3), "says that it holds 1,152,921,504,606,846,976"),
    "idx longer than the file": (idx(3, (9, 9, 9), b"\0"), "announces 729 bytes of values, but holds 1"),
    "packed idx": (zipped(idx(3, (9, 3000, 3000), bytes(9))), "says that it holds 81,000,000"),
    "packed idx with a tail": (
        zipped(idx(3, (1, 2, 2), bytes(80_000_000))),
        "announces 4 bytes of values, but holds 1028",
    ),
    "ragged labels": (batch([[1, 2], [3]]), "its labels are no list of numbers"),
    "labels of a dictionary": (batch({1: 2}), "labels of the shape"),
    "a pickle's aliases": ({"data_batch_1": bomb()}, "more than 1,000,000 values, or 20 in each other"),
    "a pickle's memory": ({"data_batch_1": b"Nr\xff\xff\xff\x7f."}, "is no CIFAR-10 batch"),
    "a pickle's text": ({"data_batch_1": b"\x80\x04\x8d" + struct.pack("<Q", 2**31) + b"x."}, "cannot read the CIFAR"),
    "a label of --5": (table("a.png,--5"), "the label '--5', but labels are names, or numbers from 0"),
    "a label of -1": (table("a.png,-1", "b.png,0"), "the label -1, but"),
    "a label of 10^9": (table("a.png,1000000000"), "the label '1000000000', but"),
    "a label of 10^6": (table("a.png,1000000"), "the label 1000000, but"),
    "a label of 10^20": (table("a.png,1" + "0" * 20), "the label '1000"),
    "a label of 5,000 digits": (table("a.png," + "9" * 5000), "the label '9999"),
    "a long name": (table("x" * 300 + ".png,0"), "names the file 'xxx"),
    "a name with a zero": (table("a\0.png,0"), "names the file|cannot read"),
    "a cell too many": (table("a.png,0,1"), "has more cells in row 2 than columns"),
    "a cell too few": (table("a.png"), "lacks a file or a label in row 2"),
    "a column twice": (table("a.png,0,1", header="file,label,label"), "the column 'label' twice"),
    "a cell without end": (table('"' + "x" * 200_000 + ",0"), "cannot read"),
    "a table in another encoding": ({"labels.csv": "file,label\n\xe4,0".encode("utf-16")}, "cannot read"),
}


def put(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder / "x.npz" if "x.npz" in files else folder


@pytest.mark.parametrize("case", CASES)
def test_what_claims_too_much_is_one_sentence(case: str, tmp_path: Path) -> None:
    files, said = CASES[case]
    path = put(tmp_path, files)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=said):
            open_source(path).train.read(0)
        assert tracemalloc.get_traced_memory()[1] < 40_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (picture("LAB", form="TIFF"), "the mode LAB, but grey"),
        (picture("L", (60_000, 1)), "it is 60000 x 1 pixels, but one side may be at most 100 times the other"),
        (picture("L", (1, 60_000)), "it is 1 x 60000 pixels"),
    ],
)
def test_pictures_that_no_model_takes_are_one_sentence(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "a.png").write_bytes(content)
    with pytest.raises(DataError, match=said):
        open_source(tmp_path).train.read(0)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_pictures_of_usual_modes_are_taken(mode: str, tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "a.tif").write_bytes(picture(mode, form="TIFF"))
    image = open_source(tmp_path).train.read(0)
    assert (image.convert("RGB").size, image.convert("L").size) == ((4, 4), (4, 4))


@pytest.mark.parametrize(
    "change",
    [
        lambda one: one.update(bbox=[0, 0, 1e999, 1]),
        lambda one: one.update(bbox=[0, 0, 10**400, 1]),
        lambda one: one.update(bbox=None),
        lambda one: one.update(image_id=[1]),
    ],
)
def test_boxes_are_finite(change: Callable[[dict[str, object]], None], tmp_path: Path) -> None:
    one: dict[str, object] = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1]}
    change(one)
    images = [{"id": 1, "width": 4, "height": 4, "file_name": "a.png"}]
    content = {"images": images, "categories": [{"id": 1, "name": "a"}], "annotations": [one]}
    (tmp_path / "x.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"the annotation 1 cannot be used|no number of JSON|than any number that is"):
        open_source(tmp_path, "boxes")


@pytest.mark.parametrize(
    "text", ["[" * 5000, '{"images": ' + "9" * 5000 + "}", "null", "[]", '{"images": [1]}', "\ud800"]
)
def test_json_without_end_is_one_sentence(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(DataError, match="is no COCO annotation"):
        open_source(tmp_path, "boxes")


def test_bounds_hold_to_the_last_number() -> None:
    check_label(MOST_CLASSES - 1, "x")
    check_sides(LONGEST_SIDE, 1)
    check_unpacked(100 * 10 + (64 << 20), 10, "x")
    for beyond in (MOST_CLASSES, -1):
        with pytest.raises(DataError, match=f"label {beyond}, but"):
            check_label(beyond, "x")
    with pytest.raises(ValueError, match="101 x 1 pixels"):
        check_sides(LONGEST_SIDE + 1, 1)
    with pytest.raises(DataError, match="says that it holds"):
        check_unpacked(100 * 10 + (64 << 20) + 1, 10, "x")
