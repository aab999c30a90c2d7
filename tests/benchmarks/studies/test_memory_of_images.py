"""Memory by the number of images: what the committed file shows, and how its table is made."""

from __future__ import annotations

from pathlib import Path

from secateur_studies.memory_of_images import COUNTS, SCHEMA, WORKS, growth, peak_bytes, table_of

from secateur.core.files import read_json

ROWS = [
    {"work": work, "images": images, "peak_bytes": peak}
    for work, images, peak in (
        ("scoring", 64, 1e9),
        ("scoring", 1024, 1.5e9),
        ("repair", 64, 2e9),
        ("repair", 1024, 2e9),
    )
]


def test_sixteen_times_the_images_take_hardly_more_memory() -> None:
    rows = read_json(Path("benchmarks/results/memory_of_images.json"), SCHEMA)["rows"]
    assert {(row["work"], row["images"]) for row in rows} == {(work, count) for work in WORKS for count in COUNTS}
    assert all(growth(rows, work) < 1.15 for work in WORKS)


def test_the_growth_is_that_of_the_peaks() -> None:
    assert (growth(ROWS, "scoring"), growth(ROWS, "repair")) == (1.5, 1.0)


def test_the_table_has_a_column_for_each_number_of_images() -> None:
    heads, rows = table_of(ROWS)
    assert heads == ("peak memory, DeiT-Tiny", "64 images", "1,024 images")
    assert rows == [("scoring", "1,000 MB", "1,500 MB"), ("repair", "2,000 MB", "2,000 MB")]


def test_the_peak_is_in_bytes() -> None:
    held = bytearray(1 << 20)
    assert peak_bytes() > len(held)
    assert peak_bytes() < 1 << 40
