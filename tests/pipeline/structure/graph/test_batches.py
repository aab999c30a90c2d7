"""Where a traced graph's samples lie: first, behind the tokens, or laid together with them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.pipeline.structure.graph.batches import places_in
from secateur.pipeline.structure.graph.program import exported, operation_of
from secateur.pipeline.structure.samples import FIRST, Samples


class Moved(nn.Module):
    """A layer behind whatever is done to tokens `[B, 6, 4]`."""

    def __init__(self, move: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.layer, self.move = nn.Linear(4, 3), move

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.layer(self.move(x))
        return found


CASES: dict[str, tuple[Callable[[Tensor], Tensor], Samples | None]] = {
    "as they come": (lambda x: x, FIRST),
    "tokens first": (lambda x: x.transpose(0, 1), Samples(1)),
    "tokens before samples": (lambda x: x.transpose(0, 1).reshape(-1, 4), Samples(0, 1)),
    "tokens of samples": (lambda x: x.flatten(0, 1), FIRST),
    "windows of two": (lambda x: x.view(-1, 3, 2, 4).flatten(0, 1), FIRST),
    "two strided windows": (lambda x: x.view(-1, 3, 2, 4).permute(2, 0, 1, 3).reshape(-1, 3, 4), Samples(0, 1)),
    "in the middle": (lambda x: x.view(-1, 3, 2, 4).permute(1, 0, 2, 3).reshape(-1, 4), Samples(0, 2)),
    "laid together and taken apart": (lambda x: x.transpose(0, 1).reshape(-1, 4).view(6, -1, 4), Samples(1)),
    "behind other operations": (lambda x: F.gelu(x.transpose(0, 1).reshape(-1, 4)) + 1, Samples(0, 1)),
    "the same for all samples": (lambda x: torch.ones(6, 4), None),
}


@pytest.mark.parametrize("name", list(CASES))
def test_where_samples_lie(name: str) -> None:
    move, expected = CASES[name]
    program = exported(Moved(move).eval(), torch.randn(2, 6, 4))
    (layer,) = (node for node in program.graph.nodes if operation_of(node) == "linear")
    found = places_in(program.graph).get(layer.args[0])
    assert found == expected
    if found is not None:  # what is seen of each sample does not depend on the others
        x = torch.randn(5, 6, 4)
        together = found.first(move(x), 5)
        for number in range(5):
            alone = found.first(move(x[number : number + 1]), 1)
            assert torch.equal(together.reshape(5, -1, 4)[number], alone.reshape(-1, 4))


def test_any_number_of_operations_may_come_after_samples_were_laid_together() -> None:
    def deep(x: Tensor) -> Tensor:
        x = x.transpose(0, 1).reshape(-1, 4)
        for _ in range(1_100):
            x = x + 1
        return x

    program = exported(Moved(deep).eval(), torch.randn(2, 6, 4))
    (layer,) = (node for node in program.graph.nodes if operation_of(node) == "linear")
    assert places_in(program.graph)[layer.args[0]] == Samples(0, 1)
