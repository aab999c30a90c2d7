"""Movement: where an element goes, its labels go, as a run of the operation on numbered elements shows."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from secateur.pipeline.structure.graph.coupling import FIXED
from tests.pipeline.structure.graph.following import labels_of, of

SHAPE = (4, 6)
MOVES: dict[str, Callable[[Tensor], Tensor]] = {
    "view": lambda p: p.view(2, 2, 6),
    "reshape": lambda p: p.reshape(4, 3, 2),
    "flatten": lambda p: p.flatten(),
    "unflatten": lambda p: p.unflatten(1, (2, 3)),
    "permute": lambda p: p.reshape(2, 2, 3, 2).permute(3, 0, 2, 1),
    "transpose and reshape": lambda p: p.t().reshape(3, 8),
    "unsqueeze and expand": lambda p: p.unsqueeze(1).expand(4, 5, 6),
    "slice": lambda p: p[1:, ::2],
    "flip": lambda p: p.flip(0, 1),
    "roll": lambda p: p.roll((1, 2), (0, 1)),
    "repeat": lambda p: p.repeat(2, 3),
    "repeat_interleave": lambda p: p.repeat_interleave(2, dim=1),
    "unfold": lambda p: p.unfold(1, 3, 1),
    "index": lambda p: p[torch.tensor([3, 0, 0])],
    "index of the last dimension": lambda p: p[:, torch.tensor([[5, 1], [2, 2]])],
    "split": lambda p: p.split([2, 4], dim=1)[1],
    "cat": lambda p: torch.cat([p, p.flip(1)], dim=1),
    "stack": lambda p: torch.stack([p, p], dim=1),
    "channel_shuffle": lambda p: F.channel_shuffle(p[None, :, :, None], 2)[0, :, :, 0],
    "pad": lambda p: F.pad(p, (1, 2)),
    "pad before": lambda p: F.pad(p, (0, 0, 3, 0)),
    "clone": lambda p: p.clone().contiguous(),
}


@pytest.mark.parametrize("name", list(MOVES))
def test_labels_go_where_their_elements_go(name: str) -> None:
    found = of(lambda p, x: MOVES[name](p), SHAPE)
    rows, columns = found.trace.tensors["p0"]
    assert rows is not None and columns is not None
    numbers = MOVES[name](torch.arange(1, 1 + math.prod(SHAPE)).reshape(SHAPE))
    components = found.trace.coupling.components()
    result = labels_of(found.results[0])
    assert found.results[0].shape == tuple(numbers.shape)
    for number, labels in zip(numbers.flatten().tolist(), result.reshape(-1, result.shape[-1]).tolist(), strict=True):
        if number == 0:
            assert FIXED in labels
        else:
            row, column = divmod(number - 1, SHAPE[1])
            source = {components[rows[row]], components[columns[column]]}
            assert {components[label] for label in labels} == source
    if name != "cat":
        free = set(found.at("p0", 0)) | set(found.at("p0", 1))
        assert len(free) == sum(SHAPE), "nothing is united by movement alone"


@pytest.mark.parametrize(
    ("pick", "picked"),
    [
        (lambda p: p[2], [False, False, True, False]),
        (lambda p: p.narrow(0, 1, 1), [False, True, False, False]),
        (lambda p: p.unbind(0)[2], [True] * 4),
    ],
)
def test_only_what_is_picked_by_its_number_stays(pick: Callable[[Tensor], Tensor], picked: list[bool]) -> None:
    found = of(lambda p, x: pick(p), SHAPE)
    reasons = found.trace.coupling.reasons(found.trace.coupling.components())
    assert ["by its number" in reasons.get(component, "") for component in found.at("p0", 0)] == picked
    assert not found.reason("p0", 1)
    assert found.along(0, -1) == found.at("p0", 1)


def test_numbers_that_are_computed_index_nothing_that_may_go() -> None:
    found = of(lambda p, x: p[:, x.argmax(dim=1)], SHAPE)
    assert "computed numbers" in found.reason("p0", 1)
    assert not found.reason("p0", 0) and found.along(0, 0) == found.at("p0", 0), "other dimensions go on"
    found = of(lambda p, x: (x[..., None] * p[0])[torch.arange(len(x)), x.argmax(dim=1)], SHAPE)  # as in CLIP's text
    assert not found.reason("p0", 1) and found.along(0, -1) == found.at("p0", 1)


def test_a_view_as_another_type_moves_nothing_or_is_not_followed() -> None:
    found = of(lambda p, x: p.view(torch.int32), (4, 6))
    assert (found.along(0, 0), found.along(0, 1)) == (found.at("p0", 0), found.at("p0", 1))
    found = of(lambda p, x: p.view(torch.int16), (4, 6))
    assert found.results[0].shape == (4, 12)
    assert "type of another size" in found.reason("p0", 1)


def test_like_another_tensor() -> None:
    found = of(lambda p, q, x: p.reshape_as(q), (4, 6), (2, 12))
    assert found.results[0].shape == (2, 12)
    assert not found.reason("p0", 0)
    found = of(lambda p, q, x: p.view_as(q), (4, 6), (2, 2, 6))
    assert found.along(0, 2) == found.at("p0", 1)
    found = of(lambda p, q, x: p.expand_as(q), (1, 6), (4, 6))
    assert found.along(0, 1) == found.at("p0", 1)


def test_what_a_tensor_of_numbers_repeats_is_not_followed() -> None:
    def repeated(p: Tensor, x: Tensor) -> Tensor:
        return p.repeat_interleave(torch.tensor([1, 2, 1, 1, 2, 1]), dim=1, output_size=8)

    assert "repeat_interleave by numbers of a tensor" in of(repeated, (4, 6)).reason("p0", 1)


def test_two_numbers_that_become_a_complex_one_go_together_there_and_back() -> None:
    found = of(lambda p, x: torch.view_as_real(torch.view_as_complex(p.unflatten(-1, (3, 2)))).flatten(1), (4, 6))
    at = found.at("p0", 1)
    assert found.along(0, 1) == at and at[::2] == at[1::2] and len(set(at)) == 3
    assert found.along(0, 0) == found.at("p0", 0) and len(set(found.at("p0", 0))) == 4
