"""What meets in an operation: the same units, blocks of units, or things that cannot go."""

from __future__ import annotations

import torch
from torch import Tensor

from secateur.pipeline.structure.graph.coupling import Atoms
from secateur.pipeline.structure.graph.unify import contract, relate
from secateur.pipeline.structure.graph.value import Value, compressed, dims_of, moved, placed


def united(atoms: Atoms, one: Tensor, two: Tensor) -> bool:
    found = atoms.components()
    return bool((found[one.reshape(-1).numpy()] == found[two.reshape(-1).numpy()]).all())


def test_elements_that_meet_go_together() -> None:
    atoms = Atoms()
    x, scale = atoms.fresh(6).reshape(1, 1, 6), atoms.fresh(6).reshape(1, 1, 6)
    (layer,) = relate(atoms, [Value((2, 5, 6), (x,), None, True), Value((1, 1, 6), (scale,))], "here")
    assert torch.equal(layer, x) and united(atoms, x, scale)


def test_what_meets_unlabelled_values_is_fixed_but_broadcasting_is_free() -> None:
    atoms = Atoms()
    x, y = atoms.fresh(6).reshape(1, 6), atoms.fresh(6).reshape(1, 6)
    assert relate(atoms, [Value((2, 6), (x,)), Value((2, 6))], "here") == ()
    relate(atoms, [Value((2, 6), (y,)), Value((2, 1))], "there")
    reasons = atoms.reasons(atoms.components())
    components = atoms.components()
    assert all("here" in reasons[int(components[atom])] for atom in x[0])
    assert not any(int(components[atom]) in reasons for atom in y[0])


def test_a_head_is_a_block_of_its_dimensions() -> None:
    atoms = Atoms()
    dims, heads = atoms.fresh(8).reshape(1, 2, 1, 4), atoms.fresh(2).reshape(1, 2, 1, 1)
    (layer,) = relate(atoms, [Value((3, 2, 5, 4), (dims,)), Value((1, 2, 1, 1), (heads,))], "here")
    assert torch.equal(layer, dims)
    assert len(set(atoms.components().tolist())) == 11
    ((coarse, fine),) = atoms.blocks
    assert torch.equal(coarse, heads) and torch.equal(fine, dims)


def test_a_scale_of_dimensions_that_heads_share_ties_the_heads() -> None:
    atoms = Atoms()
    dims, scale = atoms.fresh(8).reshape(2, 1, 4), atoms.fresh(4).reshape(1, 1, 4)
    relate(atoms, [Value((2, 5, 4), (dims,)), Value((1, 1, 4), (scale,))], "here")
    assert united(atoms, dims[0], dims[1]) and united(atoms, dims[0], scale)


def test_several_kinds_of_units_that_meet_one_are_fixed() -> None:
    atoms = Atoms()
    joint, heads, dims = atoms.fresh(8).reshape(2, 4), atoms.fresh(2).reshape(2, 1), atoms.fresh(4).reshape(1, 4)
    relate(atoms, [Value((2, 4), (joint,)), Value((2, 4), (heads, dims))], "here")
    reasons, components = atoms.reasons(atoms.components()), atoms.components()
    assert all(int(components[atom]) in reasons for atom in range(1, atoms.count))


def test_a_product_ties_what_it_sums_over_and_leaves_the_head_behind() -> None:
    atoms = Atoms()
    q, k = atoms.fresh(8).reshape(1, 2, 1, 1, 4), atoms.fresh(8).reshape(1, 2, 1, 1, 4)
    left, right = Value((3, 2, 5, 1, 4), (q,), None, True), Value((3, 2, 1, 7, 4), (k,), None, True)
    layers, cost = contract(atoms, [left, right], {4}, "here", heads=True)
    assert united(atoms, q, k)
    assert [dims_of(layer) for layer in layers] == [{1}]
    assert cost.macs == 3 * 2 * 5 * 7 * 4
    assert cost.factor == 3 * 5 * 7


def test_movement_takes_each_atom_along() -> None:
    atoms = Atoms()
    packed = atoms.fresh(24).reshape(1, 1, 24)
    value = moved(Value((2, 5, 24), (packed,)), lambda x: x.reshape(2, 5, 3, 2, 4).permute(2, 0, 3, 1, 4))
    (layer,) = value.layers
    assert value.shape == (3, 2, 2, 5, 4) and layer.shape == (3, 1, 2, 1, 4)
    assert torch.equal(layer[1, 0, 1, 0], packed[0, 0, 12:16])


def test_compression_drops_only_dimensions_without_change() -> None:
    labels = torch.arange(1, 5).reshape(2, 1, 2).expand(2, 3, 2).clone()
    assert compressed(labels).shape == (2, 1, 2)
    labels[0, 1, 0] = 9
    assert compressed(labels).shape == (2, 3, 2)


def test_placing_reorders_dimensions() -> None:
    layer = torch.arange(6).reshape(2, 3)
    value = placed(Value((2, 3), (layer,)), [3, 1], 4)
    assert value.shape == (1, 3, 1, 2)
    assert torch.equal(value.layers[0][0, :, 0, :], layer.T)
