"""Registries: things that a user names in a recipe, each found by its name and imported only then."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from secateur.core.errors import PlanError, near_matches

T = TypeVar("T")


class Registry(Generic[T]):
    """Things of one kind by name: secateur's own, those of installed packages, and those registered while running.

    `kind` says what they are in messages ("score method"); `modules` has, for each of secateur's own names, the module
    that registers it with a decorator; `group` is the entry-point group ("secateur.scores") in which other packages
    name theirs: the entry point's name is the registered name, its object the registered thing.
    """

    def __init__(self, kind: str, modules: Mapping[str, str], group: str = "") -> None:
        self.kind = kind
        self.group = group
        self._modules = dict(modules)
        self._found: dict[str, T] = {}
        self._looked = False

    def register(self, name: str) -> Callable[[T], T]:
        """A decorator that registers a thing under `name`; raises `ValueError` on a duplicate."""

        def add(thing: T) -> T:
            if name in self._found:
                raise ValueError(f"the {self.kind} {name!r} is registered twice")
            self._found[name] = thing
            return thing

        return add

    def names(self) -> tuple[str, ...]:
        """All names, sorted; nothing is imported for it.

        Raises `ValueError` where an installed package takes a name of secateur's own.
        """
        foreign = self._entry_points()
        if taken := sorted(foreign.keys() & self._modules.keys()):
            raise ValueError(f"the {self.kind} {taken[0]!r} of {foreign[taken[0]].value} has the name of one of ours")
        return tuple(sorted({*self._modules, *foreign, *self._found}))

    def __contains__(self, name: str) -> bool:
        """Whether there is a thing of that name; installed packages are looked through only where it is not ours."""
        return name in self._modules or name in self._found or name in self._entry_points()

    def own(self) -> tuple[str, ...]:
        """Secateur's own names, sorted."""
        return tuple(sorted(self._modules))

    def find(self, name: str) -> T:
        """The thing of that name, with only its module imported; raises `PlanError` with the choices for a miss.

        The first one that is asked for raises what `names` raises, so that no package hides behind a name of ours.
        """
        if name not in self._found:
            if not self._looked:
                self.names()
                self._looked = True
            if name not in self:
                names = self.names()
                raise PlanError(f"there is no {self.kind} {name!r}, but {', '.join(names)}{near_matches(name, names)}")
            self._import(name)
        return self._found[name]

    def name_of(self, thing: T) -> str:
        """The name of a thing that was registered or found before, else an empty string."""
        return next((name for name, found in self._found.items() if found is thing), "")

    def _import(self, name: str) -> None:
        """Lets the module of a name register it."""
        if name in self._modules:
            importlib.import_module(self._modules[name])
        else:
            self._load(name, self._entry_points()[name])
        if name not in self._found:
            raise ValueError(f"nothing registered the {self.kind} {name!r}")

    def _load(self, name: str, point: EntryPoint) -> None:
        """Takes a thing from another package, whose module may have registered it with the decorator already."""
        try:
            thing = point.load()
        except Exception as error:  # a user's module may raise anything
            reason = " ".join(str(error).split()) or type(error).__name__
            raise PlanError(
                f"the {self.kind} {name!r} of {point.value} cannot be imported ({reason}): mend or remove the package"
            ) from error
        self._found.setdefault(name, thing)

    def _entry_points(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in entry_points(group=self.group)} if self.group else {}
