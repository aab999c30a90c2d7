"""The source `split_folder`: a folder with `train/` and `val/` (or timm's other names), each a source of its own."""

from __future__ import annotations

from pathlib import Path

from secateur.pipeline.data.folder import class_folders
from secateur.pipeline.data.registry import Division, Sides, open_source, register
from secateur.pipeline.data.table import USUAL, Columns
from secateur.pipeline.data.truths import LabelKind

TRAIN = ("train", "training")
HELD_OUT = ("val", "valid", "validation", "eval", "evaluation", "test", "testing")
"""Names of the two parts: those that timm takes for the same, and `test`; of several, the first that exists is used."""


def parts(path: Path) -> tuple[Path | None, Path | None]:
    """The folders of the training and the held-out part, None where there is none."""
    train, held = (next((path / name for name in names if (path / name).is_dir()), None) for names in (TRAIN, HELD_OUT))
    return train, held


def recognises(path: Path) -> bool:
    """Whether the path has both parts, or one part and no other folder."""
    if not path.is_dir():
        return False
    train, held = parts(path)
    return (train is not None and held is not None) or (
        (train or held) is not None and all(p.name in (*TRAIN, *HELD_OUT) for p in class_folders(path))
    )


def open_split_folder(path: Path, labels: LabelKind = "classes", columns: Columns = USUAL) -> Sides:
    """Both parts as they are; a single part is the whole source, without a split of its own."""
    train, held = parts(path)
    if train is None or held is None:
        return open_source(train or held or path, labels, columns)
    return Sides(open_source(train, labels, columns).train, open_source(held, labels, columns).train)


LOOKS = "a folder with train/ and val/, each of one of these formats"
register(Division("split_folder", LOOKS, recognises, open_split_folder, open_for=open_split_folder))
