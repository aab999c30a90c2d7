"""Small models on disk, without pickle: `structure.json` says how to build one, `model.safetensors` fills it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from secateur.core.errors import ModelError
from secateur.core.files import read_json, sha256_file, write_json, write_tensors
from secateur.pipeline.models.create import create_model
from secateur.pipeline.models.origin import origin_of
from secateur.pipeline.models.spec import Origin
from secateur.pipeline.structure.classes import Classes, classes_of, cut_classifier
from secateur.pipeline.structure.cutting import adapted_of, cut, example_for, plan_of
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.plan import Plan

STRUCTURE, WEIGHTS = "structure.json", "model.safetensors"


def save(small: nn.Module, folder: str | Path, plan: Plan | None = None, origin: Origin | None = None) -> None:
    """Writes a pruned (or dense) timm model as a folder that `load` reads again.

    `plan` and `origin` are those that `prune` and `create_model` left on the module, unless given here. The
    weights are written first, so that a folder with a structure.json is always complete.

    >>> sc.save(small, "half")
    >>> sorted(path.name for path in Path("half").iterdir())
    ['model.safetensors', 'structure.json']
    """
    folder = Path(folder)
    origin = origin or origin_of(small)
    plan = plan or plan_of(small)
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in small.state_dict().items()}
    write_tensors(folder / WEIGHTS, tensors, {"format": "pt"})
    content = {
        "model": {"name": origin.name, "kwargs": dict(origin.kwargs)},
        "plan": plan.to_json() if plan else None,
        "adapted": list(adapted_of(small)),
        "classes": classes.to_json() if (classes := classes_of(small)) else None,
        "shapes": {name: list(tensor.shape) for name, tensor in tensors.items()},
        "weights_sha256": sha256_file(folder / WEIGHTS),
    }
    write_json(folder / STRUCTURE, "structure", content)


def load(folder: str | Path) -> nn.Module:
    """The model that `save` wrote, in evaluation mode.

    The dense architecture is created by timm, the plan replayed on it, and the weights filled in. Raises
    `ModelError` when a file is missing or damaged, or when this timm builds another architecture.

    >>> sc.save(small, "half")
    >>> torch.equal(sc.load("half")(example), small(example))
    True
    """
    folder = Path(folder)
    if not (folder / STRUCTURE).is_file() and (folder / "model" / STRUCTURE).is_file():
        folder = folder / "model"  # a run directory
    if not (folder / STRUCTURE).is_file():
        raise ModelError(f"{folder} holds no {STRUCTURE}: give a folder that sc.save or a run has written")
    content = read_json(folder / STRUCTURE, "structure")
    origin = Origin(content["model"]["name"], content["model"]["kwargs"])
    small = create_model(origin.name, **origin.kwargs)
    if content.get("classes"):
        small = cut_classifier(small, Classes.from_json(content["classes"]))
    if content["plan"] is not None:
        plan = Plan.from_json(content["plan"], str(folder / STRUCTURE))
        groups = find_groups(small, example_for(small, plan.input_shape), verify=False)
        if groups.fingerprint() != plan.fingerprint:
            raise ModelError(
                f"timm builds {origin.name!r} differently from when {folder} was saved: "
                "install the timm version of that time, or prune the model again"
            )
        small = cut(small, replace(groups, adapted=tuple(content.get("adapted", ()))), plan)
    small.load_state_dict(_read_weights(folder / WEIGHTS, small, content["weights_sha256"]))
    return small.eval()


def size_bytes(model: nn.Module) -> int:
    """Bytes of the model's parameters and buffers."""
    return sum(math.prod(t.shape) * t.element_size() for t in model.state_dict().values())


def _read_weights(path: Path, model: nn.Module, sha256: str) -> dict[str, torch.Tensor]:
    """The tensors of a weights file; raises `ModelError` when they are damaged or do not fit the model."""
    try:
        if sha256_file(path) != sha256:
            raise ModelError(f"{path} is not the file that was saved (its SHA-256 differs): copy it again")
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"cannot read {path}: {error}; copy the whole folder again") from error
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if wanted != found:
        odd = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
        raise ModelError(
            f"{path} does not fit its {STRUCTURE}: {len(odd)} tensors differ, first {odd[0]!r} "
            f"({found.get(odd[0])} in the file, {wanted.get(odd[0])} in the model); prune the model again"
        )
    return tensors
