"""What a reader should know before trusting or loading a run: notes, and what was left out."""

from __future__ import annotations

from secateur.core.import_path import is_import_path
from secateur.pipeline.analysis.accuracy import chance_warning
from secateur.pipeline.report.certainty import change_of
from secateur.pipeline.report.findings import Findings


def notes_of(found: Findings) -> list[str]:
    """Sentences on the weights, the accuracy, the surgery and the measurement."""
    model, bench, groups = found.recipe.model, found.bench, found.groups
    notes = []
    if not (model.weights or model.pretrained):
        notes.append(f"{model.name} has random weights, whose scores and accuracy mean nothing")
    top1, images = bench.dense.top1, bench.evaluation_images
    if top1 is not None and images and (warning := chance_warning(top1, len(found.classes), images)):
        notes.append(warning)
    if (judged := bench.judged) is not None and (change := change_of(judged, images)).unknown:
        unseen = f"a loss of {-(change.low or 0):.0f} points of {judged.name} would not show"
        notes.append(f"{images} held-out images are too few: {unseen}; give more (data.evaluation or data.held_out)")
    if groups.uncounted:
        notes.append(f"MACs leave out operations that may carry some: {', '.join(groups.uncounted)}")
    notes += [f"{one.name} was pruned, but cannot be verified: {one.reason}" for one in groups.unverifiable]
    return [*notes, *bench.notes, *(one.said for one in bench.narrowed)]


def guesses(found: Findings) -> bool:
    """Whether the dense model knows nothing that could be kept: timm's random weights, or what chance reaches too."""
    model, bench = found.recipe.model, found.bench
    top1, images = bench.dense.top1, bench.evaluation_images
    chance = top1 is not None and images and chance_warning(top1, len(found.classes), images)
    random = not (model.weights or model.pretrained or is_import_path(model.name))
    return random or bool(chance)


def loading_notes(found: Findings) -> list[str]:
    """How the pruned model is loaded, and what it takes."""
    factory = f', factory="{found.recipe.model.name}"' if is_import_path(found.recipe.model.name) else ""
    notes = [f'Load it by secateur.load("{found.folder}/model"{factory}); no pickle is read.']
    for name in found.groups.one_size:
        notes.append(f"{name} takes, once it is pruned, inputs of the size {found.groups.input_shape} only.")
    return notes


def left_out(found: Findings) -> list[str]:
    """One sentence for each thing that was asked for and not done."""
    graphs = found.graphs.items()
    return [
        *(f"Not checked: {name}: {one.not_checked}" for name, one in graphs if one.not_checked),
        *(f"Not built: {target}: {why}" for target, why in found.not_built.items()),
        *(f"Not measured: {target}: {why}" for target, why in found.bench.skipped.items()),
    ]
