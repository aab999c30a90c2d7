"""Preprocessing as a record: its numbers, and its note in a graph."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from secateur.core.errors import ExportError
from secateur.export.preprocessing import NOTE, Preprocessing
from secateur.pipeline.data.transform import Transform

RULE = Preprocessing((3, 2, 2), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bilinear", 1.0)


def test_it_normalises_as_the_pipeline_does() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 2, 3), dtype=np.uint8)
    wanted = Transform(RULE.shape, RULE.mean, RULE.std, crop_pct=1.0)(Image.fromarray(pixels))
    np.testing.assert_allclose(RULE.normalised(pixels[None])[0], wanted.numpy(), atol=1e-6)


def test_its_note_gives_it_back() -> None:
    assert Preprocessing.from_note({NOTE: RULE.to_note()}, "model.onnx") == RULE
    assert Preprocessing.from_note({}, "model.onnx") is None


@pytest.mark.parametrize("note", ["{", "[1]", '{"shape": [3, 2, 2]}', '{"mean": 1}'])
def test_other_notes_are_refused(note: str) -> None:
    with pytest.raises(ExportError, match=r"^the note secateur.preprocessing of model.onnx.*export the graph again$"):
        Preprocessing.from_note({NOTE: note}, "model.onnx")


@pytest.mark.parametrize(
    ("mean", "std"), [((0.5,), (0.5,) * 3), ((0.5,) * 3, (0.5, 0.5, 0.0)), ((float("nan"),) * 3, (0.5,) * 3)]
)
def test_numbers_that_normalise_nothing_are_refused(mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    with pytest.raises(ExportError, match="standard deviations"):
        Preprocessing((3, 2, 2), mean, std)
