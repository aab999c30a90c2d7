"""The picture of the demo: drawn from a run's own files."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

from secateur.pipeline.report.evidence import GAP
from secateur.pipeline.report.network import network
from secateur.pipeline.structure.describe import GroupRow
from tests.docs.modules import loaded

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def picture() -> ModuleType:
    return loaded("demo_picture")


def row(name: str, units: int, kind: str) -> GroupRow:
    return GroupRow(name, kind, units, 1, "", "f", 1, 0.1, 1, 1)  # type: ignore[arg-type]


def test_bars_stand_by_kind_in_the_order_of_the_layers(picture: ModuleType) -> None:
    groups = [row(f"blocks.{n}.{end}", units, kind) for n in range(2) for end, units, kind in KINDS]
    found = picture.bars_by_kind(network(groups, {"blocks.1.attn.heads": (0,), "blocks.0.mlp.hidden": (0, 1)}))
    assert list(found) == ["attention heads", "MLP hidden units"]
    heads = [(layer, bar.kept, bar.units) for layer, bar in found["attention heads"]]
    assert heads == [("blocks.0", 4, 4), ("blocks.1", 1, 4)]


KINDS = (("attn.heads", 4, "head"), ("mlp.hidden", 8, "mlp_hidden"))


def test_a_sheet_is_taken_apart_as_it_was_put_together(picture: ModuleType) -> None:
    side = 10
    sheet = Image.new("RGB", (3 * side + 2 * GAP, 2 * side + GAP), "white")
    colours = [["red", "green", "blue"], ["black", "gray", "yellow"]]
    for y, line in enumerate(colours):
        for x, colour in enumerate(line):
            sheet.paste(Image.new("RGB", (side, side), colour), (x * (side + GAP), y * (side + GAP)))
    for line, pictures in zip(colours, picture.examples_of(sheet, 2), strict=True):
        for colour, one in zip(line, pictures, strict=True):
            assert one.getcolors() == [(side * side, Image.new("RGB", (1, 1), colour).getpixel((0, 0)))]


def test_the_committed_picture_is_light(picture: ModuleType) -> None:
    assert picture.PICTURE.stat().st_size < 100_000
    assert Image.open(picture.PICTURE).size == (1280, 560)
