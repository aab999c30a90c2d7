"""Small models on disk, without pickle: `structure.json` says how to build one, `model.safetensors` fills it."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from secateur.core.errors import ModelError, RunError
from secateur.core.files import read_json, sha256_file, write_tensors
from secateur.core.import_path import imported
from secateur.pipeline.models.create import dense_of
from secateur.pipeline.models.spec import Origin, OwnModel
from secateur.pipeline.structure.classes import cut_classifier
from secateur.pipeline.structure.cutting import cut, example_for, in_channels_last, is_channels_last
from secateur.pipeline.structure.feature_widths import update_feature_widths
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Groups
from secateur.pipeline.structure.history import Classes, Replaced, Units, differences, history_of, shapes_in
from secateur.pipeline.structure.precision import Precision
from secateur.pipeline.structure.structure_file import DIGEST, Structure, StructureFile

STRUCTURE, WEIGHTS = "structure.json", "model.safetensors"
_log = logging.getLogger(__name__)


def save(small: nn.Module, folder: str | Path, *, overwrite: bool = False) -> None:
    """Writes a pruned (or dense) model as a folder that `load` reads again, as precise and in the same memory format.

    Its history, which `prune` leaves on it, is written with it: who made the dense model, and what was cut. Of a
    model that timm does not make, only the name of its class is known, and `load` wants a factory. Layers may have been
    replaced by the same ones in other sizes, as a head for other classes. Raises `ModelError` when the model was
    changed by other means since it was pruned, and where the folder has files of these names that `save` has not
    written, which `overwrite` replaces. The weights are written first, so that a folder
    with a structure.json is always complete.

    >>> sc.save(small, "half")
    >>> sorted(path.name for path in Path("half").iterdir())
    ['model.safetensors', 'structure.json']
    """
    folder = Path(folder)
    if not overwrite:
        _check_ours(folder)
    history = history_of(small)
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in small.state_dict().items()}
    if history.changed:
        advice = "change the dense model, and prune that again"
        raise ModelError(f"the model was changed since it was pruned: {history.changed}; {advice}")
    origin = history.made.origin()
    if isinstance(origin, OwnModel) and history.made.claims:  # of others, the user knows
        _log.warning(
            "timm makes %s in another form: sc.load(%r, factory=...) will need a function that makes it in this one",
            *(history.made.claims[0].name, str(folder)),
        )
    last = tuple(name for name, tensor in small.state_dict().items() if is_channels_last(tensor))
    structure = Structure(origin, history.steps, shapes_in(small), Precision.of(small), last)
    write_tensors(folder / WEIGHTS, tensors, {"format": "pt", DIGEST: structure.digest})
    StructureFile(structure, sha256_file(folder / WEIGHTS), structure.digest).write(folder / STRUCTURE)


def load(
    folder: str | Path,
    factory: Callable[[], nn.Module] | str | None = None,
    traced: tuple[nn.Module, Groups] | None = None,
) -> nn.Module:
    """The model that `save` wrote, in evaluation mode.

    The dense architecture is made by timm, or by the `factory` (`torchvision.models.resnet18`, or any other function
    without arguments, or its import path "torchvision.models:resnet18", which is imported then), everything that was
    cut is cut again, and the weights are filled in. Whoever has the dense model at hand, `traced` with its groups,
    saves making and tracing it; another model than this one was cut from is not taken. Raises `ModelError` when a file
    is missing or damaged, when the two do not belong together, or when another architecture is made now.

    >>> sc.save(small, "half")
    >>> torch.equal(sc.load("half")(example), small(example))
    True
    >>> from torchvision.models import resnet18
    >>> sc.save(resnet18(), "own")
    >>> type(sc.load("own", factory=resnet18)).__name__
    'ResNet'
    """
    folder = Path(folder)
    if not (folder / STRUCTURE).is_file() and (folder / "model" / STRUCTURE).is_file():
        folder = folder / "model"  # a run directory
    if not (folder / STRUCTURE).is_file():
        raise ModelError(f"{folder} holds no {STRUCTURE}: give a folder that sc.save or a run has written")
    file = StructureFile.read(folder / STRUCTURE)
    tensors = _read_weights(folder / WEIGHTS, file)
    maker, small = "the dense model", _cut_again(file.structure, *traced) if traced else None
    if small is None:
        maker, small = _dense(file.structure.origin, folder, factory)
        for step in file.structure.steps:
            if isinstance(step, Replaced):
                small = step.again(small, maker)
            else:
                small = (
                    cut_classifier(small, step) if isinstance(step, Classes) else _replayed(small, step, maker, folder)
                )
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if odd := differences(shapes_in(small), shapes):
        raise ModelError(f"{folder / WEIGHTS} does not fit what {maker} makes and {STRUCTURE} cuts: {odd}")
    precision = file.structure.precision or Precision.among(tensors)  # a former version wrote down none
    if file.structure.precision or precision != Precision():
        precision.give(small)
    small.load_state_dict(tensors)
    found = small.state_dict(keep_vars=True)
    for name in file.structure.channels_last:
        found[name].data = in_channels_last(found[name].data)
    return small.eval()


def size_bytes(model: nn.Module) -> int:
    """Bytes of the model's parameters and buffers."""
    return sum(math.prod(t.shape) * t.element_size() for t in model.state_dict().values())


def _check_ours(folder: Path) -> None:
    """Raises `ModelError` where a file would be written over that `save` has not written."""
    for name in (WEIGHTS, STRUCTURE):
        path = folder / name
        if (path.exists() or path.is_symlink()) and not _is_ours(path):
            raise ModelError(
                f"{path} is there already and sc.save has not written it: save into another folder, or with "
                "overwrite=True"
            )


def _is_ours(path: Path) -> bool:
    """Whether a file is of `save`: former versions wrote weights without a mark, beside a structure with their hash."""
    try:
        if path.name == STRUCTURE:
            read_json(path, "structure")
            return True
        with safe_open(path, "pt") as weights:
            if DIGEST in (weights.metadata() or {}):
                return True
        found: object = read_json(path.parent / STRUCTURE, "structure").get("weights_sha256")
        return found == sha256_file(path)
    except (OSError, SafetensorError, RunError):
        return False


def _dense(
    origin: Origin | OwnModel, folder: Path, factory: Callable[[], nn.Module] | str | None
) -> tuple[str, nn.Module]:
    """Who makes the dense architecture, for messages, and the architecture."""
    if factory is not None:
        name = factory if isinstance(factory, str) else getattr(factory, "__qualname__", repr(factory))
        made = imported(factory)() if isinstance(factory, str) else factory()
        if not isinstance(made, nn.Module):
            raise ModelError(f"the factory {name} gives a {type(made).__name__}, but must give an nn.Module")
        return f"the factory {name}", made.eval()
    if isinstance(origin, OwnModel):
        raise ModelError(
            f"{folder} was saved from a {origin.kind} that timm does not make: give sc.load(folder, factory=...) a "
            "function that makes the dense model"
        )
    return f"timm's {origin.name}", dense_of(origin, f"{folder / STRUCTURE}: kwargs")


def _cut_again(structure: Structure, dense: nn.Module, groups: Groups) -> nn.Module | None:
    """What was cut last, cut from the model that it was cut from; None where this is another one."""
    last, past = structure.steps[-1] if structure.steps else None, history_of(dense)
    if (
        isinstance(last, Units)
        and structure.origin in past.made.claims
        and past.steps == structure.steps[:-1]
        and Precision.of(dense) == last.precision
        and groups.fingerprint() == last.plan.fingerprint
    ):
        return _cut(dense, groups, last)
    return None


def _replayed(dense: nn.Module, step: Units, maker: str, folder: Path) -> nn.Module:
    """The dense model without the units that were removed, traced in the precision in which it was traced then."""
    if step.precision != Precision():
        step.precision.give(dense)
    groups = find_groups(dense, example_for(dense, step.plan.inputs), verify=False)
    if groups.fingerprint() != step.plan.fingerprint:
        raise ModelError(
            f"{maker} is built differently from when {folder} was saved: give what made it then (timm's version of "
            "that time, or the factory of that model), or prune the model again"
        )
    return _cut(dense, groups, step)


def _cut(dense: nn.Module, groups: Groups, step: Units) -> nn.Module:
    small = cut(dense, replace(groups, adapted=step.adapted), step.plan)
    update_feature_widths(small, dense, step.plan.inputs)
    return small


def _read_weights(path: Path, file: StructureFile) -> dict[str, torch.Tensor]:
    """The tensors of a weights file; raises `ModelError` when they are damaged or another structure's."""
    try:
        if sha256_file(path) != file.weights_sha256:
            raise ModelError(f"{path} is not the file that was saved (its SHA-256 differs): copy it again")
        with safe_open(path, "pt") as weights:
            digest = (weights.metadata() or {}).get(DIGEST)
            tensors = {name: weights.get_tensor(name) for name in weights.keys()}  # noqa: SIM118  (not a dict)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"cannot read {path}: {error}; copy the whole folder again") from error
    if digest != file.digest:
        raise ModelError(f"{path} belongs to another {STRUCTURE} than the one beside it: copy the whole folder again")
    return tensors
