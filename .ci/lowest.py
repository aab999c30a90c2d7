"""Writes .ci/lowest.txt: the lowest version that pyproject.toml allows of everything that it names.

`python -P .ci/lowest.py` after a change of pyproject.toml; a test fails while the two differ. `make test-lowest` and
`make audit-lowest` install and look at these versions.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from packaging.requirements import Requirement

EXTRAS = ("cpu", "dev")
"""What the tests take; there is no machine with all of the others."""
PLACE = Path(".ci/lowest.txt")


def constraints(pyproject: Path = Path("pyproject.toml")) -> str:
    """The constraints as pip reads them; raises `ValueError` for a requirement without a lowest version."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(word for extra in EXTRAS for word in project["optional-dependencies"][extra])]
    return "".join(f"{line}\n" for line in sorted({_lowest(Requirement(word)) for word in wanted}))


def _lowest(requirement: Requirement) -> str:
    versions = [one.version for one in requirement.specifier if one.operator == ">="]
    if len(versions) != 1:
        raise ValueError(f"{requirement} names no lowest version: write {requirement.name}>=VERSION")
    marker = f"; {requirement.marker}" if requirement.marker else ""
    return f"{requirement.name.lower()}=={versions[0]}{marker}"


if __name__ == "__main__":
    PLACE.write_text(constraints(), encoding="utf-8")
