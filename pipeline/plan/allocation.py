"""Allocations: how much of the budget each group gives. A new one is one file with one decorated class.

    @allocation("mine")
    class Mine(Allocation):
        depth: int = 2  # an option: a recipe has it as `plan.mine.depth`

        def order(self, problem: Problem) -> Order: ...

Those of this folder are named in `ALLOCATIONS`; other packages name theirs in the entry-point group
`secateur.allocations`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, TypeVar, dataclass_transform

from secateur.core.errors import PlanError
from secateur.core.options import check_fields
from secateur.core.ranges import Range
from secateur.core.registry import Registry
from secateur.core.say import Say
from secateur.pipeline.plan.budget import WIDE, Budget
from secateur.pipeline.plan.latency_table import LatencyTable
from secateur.pipeline.structure.groups import Groups, Kept, Kind, Term
from secateur.pipeline.structure.layers import in_units, unit_names
from secateur.pipeline.structure.steps import Step

if TYPE_CHECKING:
    from torch import Tensor  # allocations that rank do without

Order = list[Step]
"""All steps in the order in which they are taken; within a group always from the least important on."""
Objective = Callable[[Kept], float]
"""How far a model with these units is from the dense one; smaller is better."""
MaskLoss = Callable[[Mapping[str, "Tensor"]], "Tensor"]
"""The loss of the model on its next batch when units are multiplied by these factors `[units]` of each group."""
DEFAULT_KINDS: tuple[Kind, ...] = ("mlp_hidden", "qk_dim", "v_dim", "channel")
"""Heads are left out: on the demo, dimensions of every head cost less accuracy than whole heads at equal MACs."""
ROUNDS = Range(1, 64)
"""In how many rounds a plan may be made."""


@dataclass(frozen=True, kw_only=True)
class Instruments:
    """What allocations measure with and draw by; each takes what it needs, and ranking needs none of it.

    `objective` measures models (`objective.divergence`), `mask_loss` trains masks (`mask_loss.mask_loss`), `latencies`
    are those of a latency budget's target, `precision_losses` what the objective rises by where one product alone is in
    int8, by the name of its term (`product_losses.product_losses`), and `wide` the type of all that is not in it.
    `identity` names what decides the objective's values (weights, images), `folder` is where a study is kept that an
    allocation may go on with; `say` is told of progress.

    >>> instruments = sc.Instruments(objective=sc.divergence(model, groups, loader))
    >>> plan = sc.make_plan(groups, scores, sc.Budget(macs=0.5), "sensitivity", instruments)
    >>> groups.macs(plan.kept) <= 0.5 * groups.macs()
    True
    """

    objective: Objective | None = None
    mask_loss: MaskLoss | None = None
    latencies: LatencyTable | None = None
    precision_losses: Mapping[str, float] | None = None
    wide: str = WIDE
    seed: int = 0
    identity: str = ""
    folder: Path | None = None
    say: Say = lambda message: None


NEEDED = {
    "objective": "measures the model: give make_plan Instruments(objective=...), such as objective.divergence",
    "mask_loss": "trains masks on the model: give make_plan Instruments(mask_loss=...), such as mask_loss.mask_loss",
    "precision_losses": "chooses bits: give make_plan Instruments(precision_losses=...), such as "
    "product_losses.product_losses",
}
"""What an allocation may need, and what is said where it is not given."""


@dataclass(frozen=True)
class Problem:
    """What an allocation decides on: the removal steps of each group, the budget, and what to measure with.

    `precisions` are those of the operations (by the names of `groups.terms`) that are not in fp32. `left` are the units
    that earlier rounds have left: all others are gone, whatever is chosen.
    """

    groups: Groups
    steps: Mapping[str, Sequence[Step]]
    budget: Budget
    instruments: Instruments = field(default_factory=Instruments)
    precisions: Mapping[str, str] = field(default_factory=dict)
    left: Kept = field(default_factory=dict)

    def limit(self) -> float:
        """The most that the small model may cost, in the budget's measure."""
        return self.budget.limit(self.groups, self.names, self.instruments.latencies)

    def cost(self, kept: Kept) -> float:
        """What a choice costs, in the budget's measure."""
        return self.budget.cost(
            self.groups, self.of_left(kept), self.names, self.instruments.latencies, self.precisions
        )

    @cached_property
    def names(self) -> list[str]:
        """The groups whose units may go, those inside whole layers in the place of these."""
        return unit_names(self.groups, list(self.steps))

    def of_left(self, kept: Kept) -> Kept:
        """The units that a choice keeps of those that are left, of layers that go none."""
        kept = in_units(self.groups, kept)
        if not self.left:
            return kept
        stays = {name: set(self.left[name]) for name in kept if name in self.left}
        rest = {
            name: [unit for unit in units if unit in stays[name]] if name in stays else units
            for name, units in kept.items()
        }
        return {**self.left, **rest}

    def term_saving(self, term: Term, kept: Kept, wide: str, narrow: str) -> float:
        """What one operation costs less in the precision `narrow` than in `wide`, in the budget's measure."""
        return self.budget.term_saving(term, kept, wide, narrow, self.instruments.latencies)

    @property
    def objective(self) -> Objective:
        """What measures models; raises `PlanError` where nothing does."""
        if self.instruments.objective is None:
            raise PlanError(f"this allocation {NEEDED['objective']}")
        return self.instruments.objective

    @property
    def mask_loss(self) -> MaskLoss:
        """What trains masks; raises `PlanError` where nothing does."""
        if self.instruments.mask_loss is None:
            raise PlanError(f"this allocation {NEEDED['mask_loss']}")
        return self.instruments.mask_loss

    def without(self, name: str, count: int) -> Kept:
        """The choice that takes the first `count` steps of one group and removes nothing else."""
        gone = {unit for step in self.steps[name][:count] for unit in step.units}
        return {name: [unit for unit in range(self.groups.named(name).units) if unit not in gone]}


@dataclass(frozen=True)
class Constraints:
    """The options that all allocations share: what may be pruned, and how far.

    An allocation may need that `fewest` units stay of a group. Raises `PlanError` for other values.
    """

    align: Annotated[int, Range(1)] = 8
    """Resulting widths are multiples of this, which kernels of GPUs and int8 are made for."""
    kinds: tuple[Kind, ...] = DEFAULT_KINDS
    """The kinds of units that may be removed. With `knapsack`, whole layers of transformers too, which are left as a
    constant: `attention`, `mlp`, and `block` for both of one block.
    """
    skip: tuple[str, ...] = ()
    """Groups that match one of these globs (`blocks.0.*`) are left alone."""
    least: Annotated[int, Range(0)] | None = None
    """Every group keeps at least so many units (per head, for dimensions of heads); null: `align`, and no head at all.
    """
    fewest: ClassVar[int] = 0

    def __post_init__(self) -> None:
        for name in ("kinds", "skip"):
            if isinstance(words := getattr(self, name), list):
                object.__setattr__(self, name, tuple(words))
        check_fields(self, "plan", names=_names(Constraints))
        if not self.kinds:
            raise PlanError(f"plan.kinds is empty, but must name one kind of units or more: {', '.join(DEFAULT_KINDS)}")


@dataclass(frozen=True)
class Allocation(Constraints, ABC):
    """One way to share the budget out; options of its own are fields with defaults, checked against their annotations.

    `needs` names the instruments without which it cannot work. One that `weighs_layers` can tell what a whole layer
    saves from what is inside it.

    >>> class Narrow(sc.Allocation):
    ...     "The first group first, whatever the scores are."
    ...
    ...     def order(self, problem):
    ...         return [step for steps in problem.steps.values() for step in steps]
    >>> plan = sc.make_plan(groups, scores, sc.Budget(macs=0.8), Narrow())
    >>> min(len(units) for units in plan.kept.values()) < 48
    True
    """

    name: ClassVar[str] = ""
    needs: ClassVar[tuple[str, ...]] = ()
    weighs_layers: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fields(self, f"plan.{self.name}", names=own_options(type(self)))

    @abstractmethod
    def order(self, problem: Problem) -> Order:
        """All steps of the problem in the order in which they are taken until the budget is met."""

    def decide(self, problem: Problem) -> tuple[Problem, Order]:
        """The problem with the precisions that are chosen for its operations, and its steps in their order."""
        return problem, self.order(problem)

    def cheapest(self, problem: Problem) -> Problem:
        """The problem with the precisions that cost the least of all that may be chosen, whatever is lost."""
        return problem

    def check(self, budget: Budget) -> None:
        """Raises `PlanError` for a budget that this allocation cannot meet, before anything is measured."""


A = TypeVar("A", bound=Allocation)
_HERE = "secateur.pipeline.plan"
ALLOCATIONS: Registry[type[Allocation]] = Registry(
    "allocation",
    {
        "evolution": f"{_HERE}.evolution",
        "global": f"{_HERE}.global_ranking",
        "joint": f"{_HERE}.joint",
        "knapsack": f"{_HERE}.knapsack",
        "sensitivity": f"{_HERE}.sensitivity",
        "uniform": f"{_HERE}.global_ranking",
        "xpruner": f"{_HERE}.xpruner",
    },
    "secateur.allocations",
)


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def allocation(name: str) -> Callable[[type[A]], type[A]]:
    """A decorator that makes a class a frozen dataclass and registers it as the allocation `name`.

    Raises `ValueError` on a duplicate, and for a name that is a key of a recipe's `plan` already.
    """

    def register(kind: type[A]) -> type[A]:
        if name in ("allocate", "rounds", *_names(Constraints)):
            raise ValueError(f"an allocation cannot be called {name!r}: a recipe's plan has that key")
        kind.name = name
        ALLOCATIONS.register(name)(dataclass(frozen=True)(kind))
        return kind

    return register


def find_allocation(name: str) -> type[Allocation]:
    """The allocation of that name, with nothing else imported; raises `PlanError` with the choices when there is none.

    >>> find_allocation("global")(align=4).align
    4
    """
    found: object = ALLOCATIONS.find(name)
    if not (isinstance(found, type) and issubclass(found, Allocation) and found.name == name):
        raise PlanError(f"the allocation {name!r} is {found!r}, but must be an Allocation with @allocation({name!r})")
    return found


def own_options(kind: type[Allocation]) -> tuple[str, ...]:
    """The names of the options that an allocation has besides the shared ones."""
    shared = _names(Constraints)
    return tuple(name for name in _names(kind) if name not in shared)


def _names(kind: type[Constraints]) -> tuple[str, ...]:
    return tuple(item.name for item in fields(kind))
