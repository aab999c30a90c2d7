"""A first removal from every group: which units go, and what is told where the model's own code fails without them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from secateur.pipeline.structure.comparison import Comparison
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Group
from secateur.pipeline.structure.removal import POSITIONS, Failure, compared, some_gone, takes_over


class Inner(nn.Module):
    """What the code does is handed in."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.mix = kind, nn.Linear(12, 12)

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "repeats":
            x = x.reshape(-1, 12)
        out: Tensor = self.mix(x.roll(5, -1) if self.kind == "rolls" else x.relu())
        return out


def model(kind: str, first: int = 12) -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, first), Inner(kind), nn.Sequential(nn.ReLU(), nn.Linear(12, 3))).eval()


EXAMPLE = torch.randn(1, 6)


def result(kind: str) -> Failure | Comparison:
    torch.manual_seed(0)
    dense = model(kind)
    groups = find_groups(dense, EXAMPLE, verify=False)
    return compared(dense, groups, groups.groups)


def test_a_model_that_does_without_is_compared() -> None:
    found = result("plain")
    assert isinstance(found, Comparison) and found.agrees


def test_a_failure_names_the_module_that_was_running() -> None:
    found = result("repeats")
    assert isinstance(found, Failure) and found.module == "1.mix"
    assert found.reason.startswith(f"the model's own code does not run with fewer of them, at {Path(__file__).name}:")
    assert "mat1" not in found.reason  # PyTorch's words say nothing to who reads them


def test_a_model_that_computes_something_else_names_no_module() -> None:
    assert result("rolls") == Failure(POSITIONS)


def test_code_of_modules_with_operations_of_their_own_may_be_taken_over_the_models_own_too() -> None:
    dense = model("plain")
    groups = find_groups(dense, EXAMPLE, verify=False)
    assert [name for name, module in dense.named_modules() if takes_over(groups, name, module)] == ["1"]

    class Whole(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = super().forward(x) * 2
            return out

    dense = Whole(*dense)
    groups = find_groups(dense, EXAMPLE, verify=False)
    assert [name for name, module in dense.named_modules() if takes_over(groups, name, module)] == ["", "1"]


def test_more_go_from_one_half_of_units_that_have_no_blocks() -> None:
    def gone(units: int, blocks: int) -> list[int]:
        kept = some_gone(Group("x", "channel", units, (), blocks=blocks), 3)
        return sorted(set(range(units)) - set(kept))

    assert gone(24, 1) == [1, 4, 7, 10, 16, 22]
    assert gone(4, 1) == [1]
    assert gone(12, 2) == [1, 4, 8, 11]


@pytest.mark.parametrize("width", range(3, 70))
def test_more_or_fewer_query_than_value_dimensions_go(width: int) -> None:
    """Code that expects as many of both would otherwise fail with the first plan that keeps other numbers."""
    for steps in ((3, 4), (4, 5), (5, 3)):
        qk, v = (
            len(some_gone(Group("x", kind, 2 * width, (), blocks=2), step))
            for kind, step in zip(("qk_dim", "v_dim"), steps, strict=True)
        )
        assert 0 < qk < 2 * width and 0 < v < 2 * width and qk != v
