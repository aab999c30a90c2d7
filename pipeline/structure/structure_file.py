"""`structure.json`: how to make a small model again, and the digest that ties its weights to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from secateur.core.errors import ModelError
from secateur.core.files import read_json, sha256_json, write_json
from secateur.pipeline.models.spec import Origin, OwnModel
from secateur.pipeline.structure.history import Classes, Replaced, Step, Units
from secateur.pipeline.structure.plan import Plan
from secateur.pipeline.structure.precision import Precision

DIGEST = "structure_sha256"
"""The key of the digest, in the file and in the metadata of the weights that belong to it."""
_APART = ("schema", "weights_sha256", DIGEST)


@dataclass(frozen=True)
class Structure:
    """A model's `origin`, the `steps` that cut it, the shapes of its tensors, and their precision where it is known.

    `channels_last` are the tensors that lie in memory so, and not as tensors usually do.
    """

    origin: Origin | OwnModel
    steps: tuple[Step, ...]
    shapes: Mapping[str, tuple[int, ...]]
    precision: Precision | None = None
    channels_last: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """The SHA-256 of all that."""
        return sha256_json(self.to_json())

    def to_json(self) -> dict[str, object]:
        """The structure as plain JSON values; classes and a plan that come first have keys of their own."""
        rest = list(self.steps)
        classes = _classes(rest.pop(0)) if rest and isinstance(rest[0], Classes) else None
        units = _units(rest.pop(0)) if rest and isinstance(rest[0], Units) else {"plan": None, "adapted": []}
        content: dict[str, object] = {"model": _model(self.origin), **units, "classes": classes}
        if rest:
            content["then"] = [_then(step) for step in rest]
        content["shapes"] = {name: list(shape) for name, shape in self.shapes.items()}
        if self.precision is not None:
            content["precision"] = self.precision.to_json()
        if self.channels_last:
            content["channels_last"] = list(self.channels_last)
        return content

    @staticmethod
    def from_json(content: Mapping[str, Any], where: str) -> Structure:
        """The structure that `to_json` wrote, or a former version; raises `ModelError` naming `where` for another."""
        try:
            steps: list[Step] = [Classes.from_json(content["classes"])] if content.get("classes") else []
            steps += [_units_from(content, where)] if content["plan"] is not None else []
            for part in content.get("then", ()):
                steps.append(_then_from(part, where))
            model = content["model"]
            origin = OwnModel(str(model["class"])) if "class" in model else Origin(str(model["name"]), model["kwargs"])
            shapes = {str(name): tuple(int(size) for size in shape) for name, shape in content["shapes"].items()}
            precision = Precision.from_json(content["precision"]) if "precision" in content else None
            last = tuple(name for name in content.get("channels_last", ()) if len(shapes[name]) in (4, 5))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ModelError(f"{where} is incomplete ({error!r}): copy the whole folder again") from error
        return Structure(origin, tuple(steps), shapes, precision, last)


@dataclass(frozen=True)
class StructureFile:
    """A `structure` as it lies on disk, with the SHA-256 of its weights file.

    `digest` is the structure's, as it was found in the file: None where the file is of before there was one.
    """

    structure: Structure
    weights_sha256: str
    digest: str | None

    def write(self, path: Path) -> None:
        """Writes the file."""
        content = {**self.structure.to_json(), "weights_sha256": self.weights_sha256, DIGEST: self.digest}
        write_json(path, "structure", content)

    @staticmethod
    def read(path: Path) -> StructureFile:
        """The file at `path`; raises `ModelError` where it was changed since it was written."""
        content = read_json(path, "structure")
        structure = Structure.from_json(content, str(path))
        digest, found = content.get(DIGEST), {key: value for key, value in content.items() if key not in _APART}
        if digest is not None and digest != sha256_json(found):
            raise ModelError(
                f"{path} was changed since it was written (its SHA-256 differs): copy the whole folder again"
            )
        return StructureFile(structure, str(content.get("weights_sha256")), digest)


def _model(origin: Origin | OwnModel) -> dict[str, object]:
    if isinstance(origin, OwnModel):
        return {"class": origin.kind}
    return {"name": origin.name, "kwargs": dict(sorted(origin.kwargs.items()))}  # in whatever order they were given


def _then(step: Step) -> dict[str, object]:
    if isinstance(step, Replaced):
        return {"replaced": step.to_json()}
    return _units(step) if isinstance(step, Units) else {"classes": _classes(step)}


def _then_from(content: Mapping[str, Any], where: str) -> Step:
    if "replaced" in content:
        return Replaced.from_json(content["replaced"])
    return Classes.from_json(content["classes"]) if "classes" in content else _units_from(content, where)


def _classes(step: Step) -> dict[str, object]:
    assert isinstance(step, Classes)  # for the type checker
    return step.to_json()


def _units(step: Step) -> dict[str, object]:
    assert isinstance(step, Units)  # for the type checker
    traced = {} if step.precision == Precision() else {"traced": step.precision.to_json()}
    return {"plan": step.plan.to_json(), "adapted": list(step.adapted), **traced}


def _units_from(content: Mapping[str, Any], where: str) -> Units:
    traced = Precision.from_json(content["traced"]) if "traced" in content else Precision()
    return Units(Plan.from_json(content["plan"], where), tuple(content.get("adapted", ())), traced)
