"""Names of files in a bundle: few enough characters that every file system takes them, and none leads out of it."""

from __future__ import annotations

import re
from typing import Iterable

from .errors import BundleError

LONGEST = 160
DEEPEST = 8
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@+-]*")
_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)


def checked_name(name: str, where: str) -> str:
    """The name, relative with slashes; raises `BundleError` for one that leads elsewhere or that a system refuses."""
    shown = ascii(name[:LONGEST])
    if name.startswith(("/", "\\")) or re.match("[A-Za-z]:", name):
        raise BundleError(f"{where} names {shown}, but no absolute paths are allowed")
    parts = name.split("/")
    if ".." in parts or "." in parts:
        raise BundleError(f"{where} names {shown}, which leads out of the bundle")
    if len(name) > LONGEST or len(parts) > DEEPEST:
        raise BundleError(f"{where} names {shown}, but a name has at most {LONGEST} characters in {DEEPEST} folders")
    for part in parts:
        if not _PART.fullmatch(part) or part.endswith(".") or _DEVICES.fullmatch(part):
            raise BundleError(
                f"{where} names {shown}, but a name is made of letters, digits and ._@+-, and begins with one of the "
                "first two or with _"
            )
    return name


def check_apart(names: Iterable[str], where: str) -> None:
    """Raises `BundleError` where two names are one file, or one is a folder of another, on any file system."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.lower(), name)
        if other is not name:
            raise BundleError(f"{where} names both {other} and {name}, which are one file on some systems")
    for low, name in seen.items():
        parts = low.split("/")
        for count in range(1, len(parts)):
            folder = "/".join(parts[:count])
            if folder in seen:
                raise BundleError(f"{where} names {seen[folder]} both as a file and as a folder of {name}")
