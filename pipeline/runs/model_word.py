"""What a user names as a model, in the words of a recipe: a timm name, a checkpoint, a saved folder, an import path."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from secateur.core.errors import ModelError
from secateur.core.import_path import is_import_path
from secateur.pipeline.models.architecture import check_name
from secateur.pipeline.models.hub_folder import is_hub_folder, spec_of_hub_folder
from secateur.pipeline.models.spec import ModelSpec, OwnModel
from secateur.pipeline.models.weights_file import TORCH_SUFFIXES, open_checkpoint
from secateur.pipeline.runs.run_folder import is_run
from secateur.pipeline.structure.storage import STRUCTURE, WEIGHTS
from secateur.pipeline.structure.structure_file import StructureFile

SUFFIXES = (".safetensors", *TORCH_SUFFIXES)


def spec_of_word(word: str, weights: str | None = None, ema: bool | None = None) -> ModelSpec:
    """The dense model that `word` names, with its weights: those of the file `weights`, or its own.

    A word is a timm name (whose pretrained weights are downloaded where no others are given), the import path of a
    function, a checkpoint that names its architecture, a folder of the Hugging Face hub, or one that `sc.save` wrote
    of a model that is still whole. Raises `ModelError` for any other word, and for a checkpoint or a folder together
    with `weights` of another file.
    """
    path = Path(word).expanduser()
    if path.is_dir() or path.suffix in SUFFIXES:
        if weights:
            raise ModelError(
                f"{word} has weights of its own, but {weights} was given too: name the architecture instead"
            )
        found = _of_folder(path) if path.is_dir() else _of_file(path, ema)
        return replace(found, ema=ema)
    if is_import_path(word):
        return ModelSpec(word, weights, ema=ema)
    if path.exists() or len(path.parts) > 1:
        what = "is no checkpoint" if path.exists() else "does not exist"
        raise ModelError(
            f"{word} {what}: give a timm name, an import path, a file in {', '.join(SUFFIXES)}, or a folder"
        )
    check_name(word)
    return ModelSpec(word, weights, pretrained=not weights, ema=ema)


def _of_file(path: Path, ema: bool | None) -> ModelSpec:
    """The model of a checkpoint that names its architecture, as those of timm's train.py do."""
    name = open_checkpoint(path, ema, quiet=True).architecture  # what is taken is said when the model is made
    if not name:
        raise ModelError(
            f"{path} does not say which architecture its weights are for: give the timm name or the import path, and "
            f"--weights {path}"
        )
    check_name(name)
    return ModelSpec(name, str(path))


def _of_folder(folder: Path) -> ModelSpec:
    """The model of a folder of the hub, or of one that `save` wrote."""
    if is_hub_folder(folder):
        return spec_of_hub_folder(folder)
    if is_run(folder):
        raise ModelError(f"{folder} is a run: bring it up to date with `secateur report {folder} --all`")
    if not (folder / STRUCTURE).is_file():
        raise ModelError(f"{folder} has neither config.json nor {STRUCTURE}: give a folder of the hub or of sc.save")
    structure = StructureFile.read(folder / STRUCTURE).structure
    if structure.steps:
        raise ModelError(f"the model in {folder} was cut already: give the dense model, and a smaller budget")
    if isinstance(structure.origin, OwnModel):
        raise ModelError(
            f"the model in {folder} is a {structure.origin.kind}: give the import path of a function that makes it, "
            f"and --weights {folder / WEIGHTS}"
        )
    return ModelSpec(structure.origin.name, str(folder / WEIGHTS), kwargs=dict(structure.origin.kwargs))
