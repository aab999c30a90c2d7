"""Images with numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from secateur.core.errors import DataError
from secateur.pipeline.data.dataset import open_data
from secateur.pipeline.data.numbers_csv import open_numbers_csv
from secateur.pipeline.data.table import Columns
from tests.pipeline.tasks.small_tasks import write_numbers


def test_columns_are_what_is_true_of_an_image(tmp_path: Path) -> None:
    images = open_numbers_csv(write_numbers(tmp_path)).train
    assert images.classes == ("angle", "depth")
    assert images.truths is not None
    np.testing.assert_allclose(images.truths.read(4, (1, 1)), [4 / 3, -4])
    assert images.labels.tolist() == [number * 10 // 15 for number in range(15)]
    assert images.strata == 10


def test_both_sides_cover_the_range_and_the_numbers_are_in_the_fingerprint(tmp_path: Path) -> None:
    data = open_data(str(write_numbers(tmp_path)), labels="numbers")
    assert (len(data.calibration), len(data.evaluation), data.classes) == (10, 5, ("angle", "depth"))
    before = data.calibration.fingerprint()
    table = tmp_path / "labels.csv"
    table.write_text(
        "".join(f"{line}0\n" if line[0].isdigit() else f"{line}\n" for line in table.read_text().split("\n"))
    )
    assert open_data(str(tmp_path), labels="numbers").calibration.fingerprint() != before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file\n0.png\n", "needs the header"),
        ("angle\n1\n", "needs the header"),
        ("file,angle\n0.png,wide\n", "has 'wide' in the column angle in row 2"),
        ("file,angle\n0.png,nan\n", "has 'nan' in the column angle"),
        ("file,angle,depth\n0.png,1\n", "has None in the column depth"),
        ("file,angle\n,1\n", "has no file in row 2"),
    ],
)
def test_a_bad_table_is_one_sentence(text: str, message: str, tmp_path: Path) -> None:
    write_numbers(tmp_path)
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        open_numbers_csv(tmp_path)


def test_a_column_that_is_named_is_the_only_one(tmp_path: Path) -> None:
    folder = write_numbers(tmp_path)
    assert open_numbers_csv(folder, Columns(label="depth")).train.classes == ("depth",)
    with pytest.raises(DataError, match="with height"):
        open_numbers_csv(folder, Columns(label="height"))
