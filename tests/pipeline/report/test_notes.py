"""What a reader should know, and what was left out, in sentences."""

from __future__ import annotations

import re
from dataclasses import replace

from secateur.pipeline.report.notes import guesses, left_out, loading_notes, notes_of
from secateur.pipeline.structure.groups import Unverifiable
from tests.export.test_artefacts import EXPORTED
from tests.pipeline.report.findings import findings


def test_random_weights_uncounted_and_unverifiable_parts_and_notes_are_said() -> None:
    found = findings()
    groups = replace(found.groups, uncounted=("aten.odd",), unverifiable=(Unverifiable("a.b", "it is dead"),))
    bench = replace(found.bench, notes=("a busy machine",))
    assert notes_of(replace(found, groups=groups, bench=bench)) == [
        "deit_tiny_patch16_224 has random weights, whose scores and accuracy mean nothing",
        "MACs leave out operations that may carry some: aten.odd",
        "a.b was pruned, but cannot be verified: it is dead",
        "a busy machine",
    ]
    assert notes_of(findings(model={"name": "deit_tiny_patch16_224", "pretrained": True})) == []


def test_images_that_are_too_few_to_tell_are_noted() -> None:
    found = findings(model={"name": "deit_tiny_patch16_224", "pretrained": True})
    few, many = (replace(found, bench=replace(found.bench, evaluation_images=count)) for count in (6, 10_000))
    (note,) = notes_of(few)
    assert re.match(
        r"6 held-out images are too few: a loss of \d\d points of top-1 accuracy would not show; give more", note
    )
    assert notes_of(many) == []


def test_an_accuracy_that_guessing_reaches_is_warned_of() -> None:
    found = findings(model={"name": "deit_tiny_patch16_224", "pretrained": True})
    bench = replace(found.bench, dense=replace(found.bench.dense, top1=50.0), evaluation_images=10)
    warning, few = notes_of(replace(found, bench=bench, classes=("a", "b")))
    assert few.startswith("10 held-out images are too few")
    assert "guessing among 2 classes reaches too" in warning


def test_how_to_load_is_told_with_what_the_model_takes() -> None:
    found = findings()
    assert loading_notes(found) == ['Load it by secateur.load("RUN/model"); no pickle is read.']
    groups = replace(found.groups, one_size=("pos_embed",))
    assert "pos_embed takes, once it is pruned, inputs of the size (3, 4, 4) only." in loading_notes(
        replace(found, groups=groups)
    )
    own = replace(found, recipe=replace(found.recipe, model=replace(found.recipe.model, name="mine.nets:unet")))
    assert 'factory="mine.nets:unet"' in loading_notes(own)[0]


def test_everything_that_was_left_out_is_named() -> None:
    found = replace(findings(), graphs=EXPORTED.files, not_built={"tensorrt": "no GPU"})
    assert left_out(found) == [
        "Not checked: model.onnx: why",
        "Not built: tensorrt: no GPU",
        "Not measured: torch:cuda: no GPU here",
    ]


def test_random_weights_and_an_accuracy_by_chance_are_guesses() -> None:
    found = findings(model={"name": "deit_tiny_patch16_224", "pretrained": True})
    chance = replace(found.bench, dense=replace(found.bench.dense, top1=50.0), evaluation_images=10)
    assert not guesses(found)
    assert guesses(findings())
    assert not guesses(findings(model={"name": "mine.nets:unet"}))  # which may load its own
    assert guesses(replace(found, bench=chance, classes=("a", "b")))
