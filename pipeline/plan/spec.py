"""The part of a recipe under `plan`: an allocation, what all of them share, and sections for options of their own.

    plan: {allocate: evolution, align: 8, kinds: [mlp_hidden], evolution: {population: 16}}

The keys are made from the allocations' dataclasses. All of ours have their sections; one of another package has its
own where a recipe names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, make_dataclass
from functools import cache
from typing import Annotated, Any, get_type_hints

from secateur.core.errors import PlanError, RecipeError, naming
from secateur.core.options import check_fields, options_of
from secateur.pipeline.plan.allocation import (
    ALLOCATIONS,
    ROUNDS,
    Allocation,
    Constraints,
    find_allocation,
    own_options,
)


@dataclass(frozen=True)
class _Allocate:
    allocate: str = "knapsack"
    """The way the budget is shared out: `uniform`, `global`, `knapsack`, `sensitivity`, `evolution`, `xpruner`, `joint`
    or another registered allocation; a recipe without it has the best one for its score.
    """
    rounds: Annotated[int, ROUNDS] = 1
    """In how many rounds units go: what a round leaves is repaired, where the run repairs in closed form, and scored
    anew before the next one; each leaves the same share of the cost that it found.
    """


@dataclass(frozen=True)
class PlanSpec(Constraints, _Allocate):
    """How the budget is shared out: by the allocation `allocate`, under these constraints.

    A recipe that names none has the `best_allocation` for its score. Several `rounds` are those of
    `plan_in_rounds`.
    Raises `PlanError` for an allocation that there is not, and for values that an allocation does not take, whether
    it is the chosen one or not.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fields(self, "plan", names=("rounds",))
        with naming("plan.allocate"):
            find_allocation(self.allocate)
        for name in dict.fromkeys([self.allocate, *self.sections()]):
            self._made(name)

    @classmethod
    def kind_for(cls, content: Mapping[str, Any]) -> type[PlanSpec]:
        """The spec with a section for each of our allocations that has options, and for others that `content` names."""
        named = {str(word) for word in (*content, content.get("allocate", "allocate"))}
        own = ALLOCATIONS.own()
        unknown = named.difference(own, (item.name for item in fields(PlanSpec)))
        foreign = sorted(unknown & set(ALLOCATIONS.names())) if unknown else ()
        return _spec_with((*own, *foreign))

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> PlanSpec:
        """The spec that a recipe's keys make; raises `RecipeError` for what `PlanSpec` refuses."""
        kind = cls.kind_for(content)
        hints = get_type_hints(kind)
        try:
            sections = {
                name: options_of(hints[name], content[name], f"plan.{name}")
                for name in kind.sections()
                if isinstance(content.get(name), Mapping)
            }
            return options_of(kind, {**content, **sections}, "plan")
        except PlanError as error:
            raise RecipeError(str(error)) from error

    @classmethod
    def sections(cls) -> tuple[str, ...]:
        """The names of the sections."""
        shared = [item.name for item in fields(PlanSpec)]
        return tuple(item.name for item in fields(cls) if item.name not in shared)

    def allocation(self) -> Allocation:
        """The allocation that is asked for, with its options."""
        return self._made(self.allocate)

    def _made(self, name: str) -> Allocation:
        kind = find_allocation(name)
        own = {option: getattr(getattr(self, name), option) for option in own_options(kind)}
        return kind(**{item.name: getattr(self, item.name) for item in fields(Constraints)}, **own)


def default_spec() -> PlanSpec:
    """The spec of a recipe that says nothing of plans."""
    return PlanSpec.read({})


@cache
def _spec_with(names: tuple[str, ...]) -> type[PlanSpec]:
    """The spec with the sections of those allocations that have options of their own."""
    kinds = {name: find_allocation(name) for name in names}
    sections = {name: _section(kind) for name, kind in kinds.items() if own_options(kind)}
    made = [(name, section, field(default_factory=section)) for name, section in sections.items()]
    return make_dataclass("PlanSpec", made, bases=(PlanSpec,), frozen=True)


def _section(kind: type[Allocation]) -> type:
    """A dataclass of the options that an allocation has for itself."""
    hints, own = get_type_hints(kind, include_extras=True), own_options(kind)
    made = [
        (item.name, hints[item.name], field(default=item.default, default_factory=item.default_factory))
        for item in fields(kind)
        if item.name in own
    ]
    return make_dataclass(f"{kind.__name__}Options", made, frozen=True)
