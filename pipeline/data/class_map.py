"""Class maps: files that say which class has which number, where the names alone do not (timm's `--class-map`)."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from secateur.core.errors import DataError, near_matches
from secateur.core.json_text import parse_json
from secateur.pipeline.data.bounds import MOST_CLASSES
from secateur.pipeline.data.images import Images

_log = logging.getLogger(__name__)


def find_class_map(word: str, beside: Sequence[str]) -> Path:
    """The file that `word` means: as it stands or, as in timm, in one of the data's folders."""
    places = [Path(word).expanduser(), *(Path(folder).expanduser() / word for folder in beside)]
    for place in places:
        if place.is_file():
            return place
    raise DataError(f"there is no class map {word!r}, neither here nor in {' or '.join(beside)}: give a file")


def read_class_map(path: Path, least: int = 0) -> tuple[str, ...]:
    """The names of the classes in the order of their numbers, `least` of them or more.

    A `.txt` has a name in each line, a `.json` a list of names or an object from names to numbers; numbers without a
    name stand for themselves. Pickles are not read. Raises `DataError` for another file, and when a name or a number
    comes twice.
    """
    if path.suffix.lower() not in (".txt", ".json"):
        raise DataError(
            f"the class map {path} ends in {path.suffix!r}, but a .txt with a name in each line or a .json from names "
            "to numbers is needed; a pickle can run code and is not read"
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
        numbers = _from_json(parse_json(text), path) if path.suffix.lower() == ".json" else _from_lines(text, path)
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read the class map {path}: {error}; give UTF-8 text") from error
    if not numbers or max(numbers.values()) >= MOST_CLASSES:
        found = f"goes up to the number {max(numbers.values())}" if numbers else "names no classes"
        raise DataError(f"the class map {path} {found}: give names for the numbers from 0 to {MOST_CLASSES - 1}")
    names = [str(number) for number in range(max(least, 1 + max(numbers.values())))]
    for name, number in numbers.items():
        names[number] = name
    if twice := _twice(names):
        raise DataError(f"the class map {path} names {twice!r}, which is also the number of a class without a name")
    return tuple(names)


def with_class_map(images: Images, names: tuple[str, ...], where: str) -> Images:
    """The images with the classes `names`: classes with names are found among them, numbers are their places.

    As in timm, images of a class that the map lacks are left out, which is said. Raises `DataError` when none is left
    or a number is too high.
    """
    if images.numbered:
        if len(images.classes) > len(names):
            raise DataError(f"{where} has {len(names)} classes, but the labels go up to {len(images.classes) - 1}")
        return images.relabelled(names, numbered=False)
    places = {name: number for number, name in enumerate(names)}
    lost = [name for name in images.classes if name not in places]
    numbers = np.array([places.get(name, -1) for name in images.classes], dtype=np.int64)[images.labels]
    stays = np.flatnonzero(numbers >= 0)
    if not stays.size:
        raise DataError(f"{where} names none of the data's classes (first {lost[0]!r}{near_matches(lost[0], names)})")
    if lost:
        _log.warning(
            "%d of %d images are left out, since %s does not name their classes (%d, first %r)",
            *(len(images) - len(stays), len(images), where, len(lost), lost[0]),
        )
    return images.subset(stays).relabelled(names, numbered=False, labels=numbers[stays])


def _from_lines(text: str, path: Path) -> dict[str, int]:
    """Names by lines; only the last lines may be empty."""
    lines = [line.strip() for line in text.rstrip().splitlines()]
    if "" in lines:
        raise DataError(f"the class map {path} has no name in line {lines.index('') + 1}: each line is one class")
    return _numbered(lines, path)


def _from_json(content: object, path: Path) -> dict[str, int]:
    if isinstance(content, list) and all(isinstance(name, str) and name for name in content):
        return _numbered(content, path)
    if not isinstance(content, dict) or not all(
        isinstance(number, int) and not isinstance(number, bool) and number >= 0 for number in content.values()
    ):
        raise DataError(f"the class map {path} must hold a list of names, or an object from names to numbers from 0")
    holders: dict[int, str] = {}
    for name, number in content.items():
        if number in holders:
            raise DataError(f"the class map {path} gives the number {number} to {holders[number]!r} and {name!r}")
        holders[number] = name
    return content


def _twice(names: Sequence[str]) -> str:
    """A name that comes twice, or an empty string."""
    return next((name for name, count in Counter(names).items() if count > 1), "")


def _numbered(names: Sequence[str], path: Path) -> dict[str, int]:
    if twice := _twice(names):
        raise DataError(f"the class map {path} names {twice!r} twice: give each class one name")
    return {name: number for number, name in enumerate(names)}
