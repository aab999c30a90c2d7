"""The study of a segmenter and a detector: its pictures, what its detector says, and its table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from secateur_studies.beyond_classes import WAYS, rows_of
from secateur_studies.shapes import SHAPES, SIZE, STRIDE, decode, detection_loss, detector, unet, write_shapes

from secateur.pipeline.data.coco import Boxes, open_coco
from secateur.pipeline.data.masks import open_masks
from secateur.pipeline.data.truths import Truths


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six pictures."""
    place = tmp_path_factory.mktemp("shapes")
    write_shapes(place, 6, 0)
    return place


def truths(found: Truths | None) -> Truths:
    assert found is not None
    return found


def test_masks_and_boxes_speak_of_the_same_shapes(folder: Path) -> None:
    masked, boxed = open_masks(folder).train, open_coco(folder / "boxes.json").train
    assert (masked.classes, boxed.classes) == (("background", *SHAPES), SHAPES)
    of_boxes = truths(boxed.truths)
    assert isinstance(of_boxes, Boxes)
    for i in range(6):
        mask, rows = truths(masked.truths).read(i, (SIZE, SIZE)), of_boxes.read(i, (SIZE, SIZE))
        rows = rows[rows[:, 0] >= 0]
        assert set(mask.unique().tolist()) == {0, *(1 + rows[:, 0]).long().tolist()}
        for number, left, top, right, bottom, _ in rows.tolist():
            part = mask[round(top) : round(bottom) + 1, round(left) : round(right) + 1]
            assert (part == number + 1).double().mean() > 0.3


def test_the_loss_is_least_for_the_boxes_themselves(folder: Path) -> None:
    """Outputs are written from the labels; the loss is then near 0, and decoding gives the boxes back."""
    labels = truths(open_coco(folder / "boxes.json").train.truths).read(0, (SIZE, SIZE))[None]
    side = SIZE // STRIDE
    outputs = torch.full((1, len(SHAPES) + 4, side, side), -12.0)
    wanted = []
    for number, left, top, right, bottom, _ in labels[0][labels[0][:, 0] >= 0].tolist():
        wanted.append([left, top, right, bottom])
        for row in range(side):
            for column in range(side):
                x, y = (column + 0.5) * STRIDE, (row + 0.5) * STRIDE
                thirds = (right - left) / 3, (bottom - top) / 3
                if left + thirds[0] < x < right - thirds[0] and top + thirds[1] < y < bottom - thirds[1]:
                    outputs[0, int(number), row, column] = 12.0
                    reach = torch.tensor([x - left, y - top, right - x, bottom - y]) / STRIDE
                    outputs[0, len(SHAPES) :, row, column] = reach.expm1().log()
    assert float(detection_loss(outputs, labels)) < 1e-3
    assert float(detection_loss(-outputs, labels)) > 1
    ((boxes, scores, numbers),) = decode(outputs)
    assert scores.min() > 0.99 and len(numbers) == len(wanted)
    torch.testing.assert_close(boxes.sort(0).values, torch.tensor(wanted).sort(0).values, atol=1e-3, rtol=0)


def test_both_models_answer_for_any_picture() -> None:
    x = torch.zeros(2, 3, SIZE, SIZE)
    assert unet()(x).shape == (2, 1 + len(SHAPES), SIZE, SIZE)
    assert detector()(x).shape == (2, len(SHAPES) + 4, SIZE // STRIDE, SIZE // STRIDE)


def test_the_table_has_a_row_for_each_task() -> None:
    path = Path(__file__).parents[3] / "benchmarks/results/beyond_classes.json"
    head, rows = rows_of(json.loads(path.read_text()))
    assert head == ("task", "dense", *WAYS, "MACs")
    assert [row[0] for row in rows] == ["`detect`, mAP", "`segment`, mIoU"]
    assert all(len(row) == len(head) for row in rows)
