"""Values: maps move as the elements of a full tensor of labels do."""

from __future__ import annotations

import itertools
import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from secateur.pipeline.structure.graph.value import Value, compressed, dims_of, moved, placed

SHAPE = (2, 6, 4)


def value() -> Value:
    """One map along the middle dimension, one along the outer two together."""
    return Value(SHAPE, (torch.arange(1, 7).reshape(1, 6, 1), torch.arange(7, 15).reshape(2, 1, 4)))


def sets(found: Value) -> torch.Tensor:
    """For each element the labels of all maps, sorted, `[*shape, maps]`."""
    return torch.stack([labels.expand(found.shape) for labels in found.maps], dim=-1).sort(dim=-1).values


MOVES = {
    "permute": lambda x: x.permute(2, 0, 1),
    "reshape": lambda x: x.reshape(2, 3, 2, 4),
    "merge": lambda x: x.reshape(12, 4),
    "slice": lambda x: x[:, 1:5:2],
    "flip": lambda x: x.flip(1),
    "roll": lambda x: x.roll(2, 1),
    "expand": lambda x: x[:, None].expand(2, 3, 6, 4),
    "index": lambda x: x[:, torch.tensor([[5, 0], [2, 2]])],
}


@given(st.sampled_from(sorted(MOVES)))
def test_a_move_takes_each_elements_atoms_along(name: str) -> None:
    move = MOVES[name]
    before, after = sets(value()), moved(value(), move)
    numbers = move(torch.arange(math.prod(SHAPE)).reshape(SHAPE))
    assert after.shape == tuple(numbers.shape)
    assert torch.equal(sets(after), before.reshape(-1, 2)[numbers])


def test_numbers_move_along() -> None:
    indices = Value((4,), (), torch.arange(4))
    found = moved(indices, lambda x: x[1:3])
    assert found.data is not None
    assert found.data.tolist() == [1, 2]
    assert moved(Value((4,), computed=True), lambda x: x[:2]).computed


@given(st.lists(st.booleans(), min_size=3, max_size=3))
def test_compressed_keeps_the_dimensions_along_which_labels_change(changes: list[bool]) -> None:
    shape = [size if change else 1 for size, change in zip(SHAPE, changes, strict=True)]
    short = torch.arange(math.prod(shape)).reshape(shape)
    for labels in (short.expand(SHAPE), short.expand(SHAPE).contiguous()):
        found = compressed(labels)
        assert tuple(found.shape) == tuple(shape)
        assert torch.equal(found, short)
        assert dims_of(found) == {dim for dim, change in enumerate(changes) if change}


def test_compressed_looks_at_every_position() -> None:
    assert compressed(torch.tensor([[1, 1, 2], [1, 1, 2]])).tolist() == [[1, 1, 2]]


def test_placed_puts_dimensions_where_they_are_told() -> None:
    for dims in itertools.permutations(range(5), 3):
        found = placed(value(), dims, 5)
        numbers = torch.arange(math.prod(SHAPE)).reshape(SHAPE)
        lengths = [1] * 5
        for dim, size in zip(dims, SHAPE, strict=True):
            lengths[dim] = size
        assert found.shape == tuple(lengths)
        order = sorted(range(3), key=lambda i: dims[i])
        expected = sets(value()).reshape(-1, 2)[numbers.permute(order).reshape(lengths)]
        assert torch.equal(sets(found), expected)


def test_on_has_the_maps_that_change_along_a_dimension() -> None:
    assert [len(value().on(dim)) for dim in range(3)] == [1, 1, 1]
    assert value().on(0)[0] is not value().on(1)[0]
    assert value().on(0)[0].shape == value().on(2)[0].shape == (2, 1, 4)


def test_a_value_knows_along_which_dimensions_it_was_expanded() -> None:
    wide = moved(Value((2, 1, 4)), lambda x: x.expand(2, 3, 4))
    assert (wide.expanded, wide.narrow.shape) == ({1}, (2, 1, 4))
    assert moved(wide, lambda x: x.permute(1, 0, 2)).expanded == {0}
    assert placed(wide, [1, 3, 2], 4).expanded == {3}
    assert moved(Value((2, 3, 4)), lambda x: x.permute(1, 0, 2)).expanded == set()
