"""Groups that a model's own code cannot do without are found by halves, and told with the true reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from secateur.pipeline.structure.blame import near, to_blame, without
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Groups
from secateur.pipeline.structure.removal import Failure, compared

Look = Callable[[Tensor], object]


class Block(nn.Module):
    """A hidden width that the code may look at, in a way that no graph tells."""

    def __init__(self, look: Look = lambda hidden: None) -> None:
        super().__init__()
        self.look = look
        self.one, self.two = nn.Linear(8, 12), nn.Linear(12, 8)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.one(x).relu()
        self.look(hidden)
        out: Tensor = x + self.two(hidden)
        return out


class Other(Block):
    """Another class with the same layers."""


def twelve(hidden: Tensor) -> None:
    """Insists on all units."""
    if hidden.shape[-1] != 12:
        raise ValueError("twelve units were expected")


def blamed(model: nn.Module, hopeless: dict[str, str]) -> tuple[Groups, dict[str, str]]:
    """The groups of a model, and those to blame for what all together cause."""
    torch.manual_seed(0)
    groups = find_groups(model.eval(), torch.randn(1, 6), verify=False)
    failure = compared(model, groups, groups.groups)
    assert isinstance(failure, Failure)
    return groups, to_blame(model, groups, groups.groups, failure, hopeless)


def chain(*blocks: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), *blocks, nn.Linear(8, 5))


def test_like_modules_are_blamed_with_the_one_that_fails_and_others_are_not() -> None:
    _, found = blamed(chain(Block(), Other(), Block(twelve)), {})
    assert found.keys() == {"1.hidden", "3.hidden"}
    for told in found.values():
        assert told.startswith(f"the model's own code does not run with fewer of them, at {Path(__file__).name}:")
        assert told.endswith('in twelve, `raise ValueError("twelve units were expected")`')


def test_the_reason_says_why_code_could_not_be_taken_over_for_each_module() -> None:
    _, found = blamed(chain(Block(twelve), Block()), {"1": "it is odd", "2": "it is even", "": "it is long"})
    for name, why in (("1", "odd"), ("2", "even")):
        assert found[f"{name}.hidden"].endswith(
            f'units were expected")`, and the code of {name} cannot be taken over from the graph: it is {why}'
        )


def test_a_layer_that_fails_stands_for_the_module_around_it() -> None:
    class Wrong(Block):
        """Gives its second layer what it does not expect."""

        def forward(self, x: Tensor) -> Tensor:
            hidden = self.one(x)
            out: Tensor = x + self.two(torch.cat([hidden, hidden], 1)[:, :12])
            return out

    _, found = blamed(chain(Block(), Wrong(), Block()), {})
    assert list(found) == ["2.hidden"], "other linear layers are no reason to blame their groups"


@pytest.mark.parametrize(
    ("path", "module", "expected"),
    [("a.b.weight", "a.b", True), ("a.b", "a.b", True), ("a.bc", "a.b", False), ("a", "", True)],
)
def test_what_lies_within_a_module(path: str, module: str, expected: bool) -> None:
    assert near(path, module) == expected


def test_what_is_blamed_is_fixed_and_in_no_cost() -> None:
    groups = find_groups(chain(Block(), Block()).eval(), torch.randn(1, 6), verify=False)
    left = without(groups, {"1.hidden": "it is odd"})
    assert [(one.name, one.reason) for one in left.fixed] == [("1.hidden", "it is odd")]
    assert "1.hidden" not in {group.name for group in left}
    assert "1.hidden" not in {name for term in left.terms for axis in term.axes for name, _ in axis.members}
    assert left.macs() == groups.macs() and left.ungrouped["1.one.weight", 0] == "it is odd"
