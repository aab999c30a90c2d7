"""Pictures become what timm makes of them, for any size, mode and way of cropping; what is no picture is a sentence."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from secateur.export.runner import preprocess
from secateur.export.runner.errors import BundleError, InferenceError, UnavailableError
from secateur.export.runner.preprocess import INTERPOLATIONS, Preprocessing, parse_preprocessing
from secateur.pipeline.data.transform import Transform
from tests.export.small_bundle import RECIPE


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


SIZES = st.integers(1, 40)


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(SIZES, SIZES),
    wanted=st.tuples(st.integers(2, 20), st.integers(2, 20)) | st.integers(2, 20).map(lambda one: (one, one)),
    mode=st.sampled_from(["center", "squash", "border"]),
    crop=st.sampled_from([0.5, 0.875, 0.9, 1.0]),
    interpolation=st.sampled_from(["bilinear", "bicubic", "nearest"]),
    kind=st.sampled_from(["L", "RGB", "RGBA", "P", "1"]),
    grey=st.booleans(),
)
def test_it_is_timms_transform(
    size: tuple[int, int],
    wanted: tuple[int, int],
    mode: str,
    crop: float,
    interpolation: str,
    kind: str,
    grey: bool,
) -> None:
    channels = 1 if grey else 3
    mean, std = (0.4, 0.5, 0.6)[:channels], (0.2, 0.25, 0.3)[:channels]
    pixels = np.random.default_rng(size).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(pixels).convert(kind)
    recipe = Preprocessing((channels, *wanted), mean, std, interpolation, crop, mode)
    theirs = Transform((channels, *wanted), mean, std, interpolation, crop, mode)  # type: ignore[arg-type]
    try:
        expected = theirs(image).numpy()
    except Exception:  # a side of no pixels: Pillow and torchvision raise unrelated types
        with pytest.raises(InferenceError, match="cannot be fitted"):
            recipe.input_from(png(image), "x")
        return
    np.testing.assert_allclose(recipe.input_from(png(image), "x")[0], expected, atol=1e-6)


def test_a_graph_that_normalises_takes_the_pixels_themselves() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 4), dtype=np.uint8)
    found = dataclasses.replace(RECIPE, inside=True).input_from(png(Image.fromarray(pixels)), "x")
    np.testing.assert_array_equal(found, pixels[None, ..., None])
    assert found.dtype == np.uint8


def test_sixteen_bits_keep_the_upper_ones() -> None:
    recipe = Preprocessing((1, 1, 1), (0.0,), (1.0,), "bicubic", 1.0, "center")
    image = Image.fromarray(np.array([[0x80FF]], np.uint16))
    assert recipe.input_from(png(image), "x").item() == pytest.approx(0x80 / 255)


def test_a_format_whose_decoder_starts_a_program_is_not_read() -> None:
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
    with pytest.raises(InferenceError, match="x is in EPS, but only AVIF, BMP"):
        RECIPE.input_from(eps, "x")


@pytest.mark.parametrize("data", [b"", b"no picture", png(Image.new("L", (9, 9)))[:-30], b"GIF89a"])
def test_what_is_no_picture(data: bytes) -> None:
    with pytest.raises(InferenceError, match="x is no picture that can be read"):
        RECIPE.input_from(data, "x")


def test_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preprocess, "MOST_PIXELS", 50)
    with pytest.raises(InferenceError, match="x has 9 x 9 pixels, but at most 50"):
        RECIPE.input_from(png(Image.new("L", (9, 9))), "x")
    monkeypatch.setattr(preprocess, "MOST_BYTES", 2)
    (tmp_path / "x.png").write_bytes(b"123")
    with pytest.raises(InferenceError, match="has 3 bytes, but pictures of at most 2"):
        RECIPE.input_of(tmp_path / "x.png")


def test_files(tmp_path: Path) -> None:
    Image.new("L", (9, 9), 255).save(tmp_path / "x.png")
    assert RECIPE.input_of(tmp_path / "x.png") == pytest.approx(np.full((1, 1, 4, 4), 2.0))
    np.save(tmp_path / "x.npy", np.zeros((1, 4, 4), np.float32))
    assert RECIPE.input_of(tmp_path / "x.npy").shape == (1, 1, 4, 4)
    (tmp_path / "y.npy").write_bytes(b"x")
    np.save(tmp_path / "none.npy", np.zeros((0, 1, 4, 4), np.float32))
    os.mkfifo(tmp_path / "pipe.png")
    for name, words in (
        ("y.npy", "is no .npy file"),
        ("none.npy", "which is no image"),
        ("absent.png", "cannot read"),
        ("pipe.png", "is no regular file"),
        ("", "is no regular file"),
    ):
        with pytest.raises(InferenceError, match=words):
            RECIPE.input_of(tmp_path / name)


def test_without_pillow_the_way_out_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    data = png(Image.new("L", (4, 4)))
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(UnavailableError, match=r"give the input as \.npy"):
        RECIPE.input_from(data, "x")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"shape": [2, 4, 4]}, "has the shape"),
        ({"shape": [1, 0, 4]}, "has the shape"),
        ({"mean": [0.1, 0.2]}, "need 1 numbers"),
        ({"std": [0]}, "std above 0"),
        ({"interpolation": "magic"}, "interpolation is 'magic'"),
        ({"crop_pct": 0}, "crop_pct is 0"),
    ],
)
def test_a_recipe_that_cannot_be_followed(made_bundle: Path, change: dict[str, object], words: str) -> None:
    data = (made_bundle / "preprocessing.json").read_bytes()
    assert parse_preprocessing(data) == RECIPE
    with pytest.raises(BundleError, match=words):
        parse_preprocessing(json.dumps({**json.loads(data), **change}).encode())


def test_numbers_of_interpolations_are_pillows() -> None:
    assert {name: int(Image.Resampling[name.upper()]) for name in INTERPOLATIONS} == INTERPOLATIONS
