"""What meets in an operation: the same units, blocks of units, or things that cannot go."""

from __future__ import annotations

import torch
from torch import Tensor

from secateur.pipeline.structure.graph.coupling import Coupling
from secateur.pipeline.structure.graph.unify import contract, unify
from secateur.pipeline.structure.graph.value import Value, compressed, dims_of, moved, placed


def united(coupling: Coupling, one: Tensor, two: Tensor) -> bool:
    found = coupling.components()
    return bool((found[one.reshape(-1).numpy()] == found[two.reshape(-1).numpy()]).all())


def test_elements_that_meet_go_together() -> None:
    coupling = Coupling()
    x, scale = coupling.fresh(6).reshape(1, 1, 6), coupling.fresh(6).reshape(1, 1, 6)
    (labels,) = unify(coupling, [Value((2, 5, 6), (x,), None, True), Value((1, 1, 6), (scale,))], "here")
    assert torch.equal(labels, x) and united(coupling, x, scale)


def test_what_meets_unlabelled_values_is_fixed_but_broadcasting_is_free() -> None:
    coupling = Coupling()
    x, y = coupling.fresh(6).reshape(1, 6), coupling.fresh(6).reshape(1, 6)
    assert unify(coupling, [Value((2, 6), (x,)), Value((2, 6))], "here") == ()
    unify(coupling, [Value((2, 6), (y,)), Value((2, 1))], "there")
    reasons = coupling.reasons(coupling.components())
    components = coupling.components()
    assert all("here" in reasons[int(components[label])] for label in x[0])
    assert not any(int(components[label]) in reasons for label in y[0])


def test_a_head_is_a_block_of_its_dimensions() -> None:
    coupling = Coupling()
    dims, heads = coupling.fresh(8).reshape(1, 2, 1, 4), coupling.fresh(2).reshape(1, 2, 1, 1)
    (labels,) = unify(coupling, [Value((3, 2, 5, 4), (dims,)), Value((1, 2, 1, 1), (heads,))], "here")
    assert torch.equal(labels, dims)
    assert len(set(coupling.components().tolist())) == 11
    ((coarse, fine),) = coupling.blocks
    assert torch.equal(coarse, heads) and torch.equal(fine, dims)


def test_a_scale_of_dimensions_that_heads_share_ties_the_heads() -> None:
    coupling = Coupling()
    dims, scale = coupling.fresh(8).reshape(2, 1, 4), coupling.fresh(4).reshape(1, 1, 4)
    unify(coupling, [Value((2, 5, 4), (dims,)), Value((1, 1, 4), (scale,))], "here")
    assert united(coupling, dims[0], dims[1]) and united(coupling, dims[0], scale)
    assert len(set(coupling.solved()[1][dims.reshape(-1).numpy()].tolist())) == 8, "a head may go without the others"


def test_the_same_dimension_of_all_heads_may_go_from_a_product_with_a_constant_but_not_from_a_sum() -> None:
    for product in (True, False):
        coupling = Coupling()
        dims, angles = coupling.fresh(8).reshape(2, 1, 4), coupling.constant(4).reshape(1, 1, 4)
        operands = [Value((2, 5, 4), (dims,), None, True), Value((1, 5, 4), (angles,))]
        (made,) = unify(coupling, operands, "here", product)
        assert torch.equal(made, dims)
        found = coupling.components()[dims.reshape(2, 4).numpy()].tolist()
        assert found[0] == found[1] if product else len(set(found[0])) == 1
        assert len(set(found[0])) == (4 if product else 1)
        assert coupling.pieces(coupling.components()).keys() == (set() if product else {*found[0], *found[1]})
        assert coupling.all_fixed(angles), "the table stays whole"
        assert len(set(coupling.solved()[1][dims[:, 0, 0].numpy()].tolist())) == 2, "a head may go alone"


def test_equal_numbers_take_no_dimension_of_a_head_in_a_product() -> None:
    coupling = Coupling()
    dims, heads = coupling.fresh(8).reshape(2, 1, 4), coupling.fresh(2).reshape(2, 1, 1)
    lengths = Value((2, 5, 4), (heads,), None, True, frozenset({2}))
    (made,) = unify(coupling, [Value((2, 5, 4), (dims,), None, True), lengths], "here", True)
    assert torch.equal(made, dims)
    assert len(set(coupling.components()[dims.reshape(-1).numpy()].tolist())) == 8


def test_what_has_only_heads_in_common_keeps_its_dimensions() -> None:
    coupling = Coupling()
    keys, values = coupling.fresh(6).reshape(2, 3, 1), coupling.fresh(8).reshape(2, 1, 4)
    left, right = Value((2, 3, 1), (keys,), None, True), Value((2, 1, 4), (values,), None, True)
    maps, costs = contract(coupling, [left, right], set(), "here", heads=True)
    assert len(maps) == 2 and sum(cost.macs for cost in costs) == 2 * 3 * 4
    queries = Value((2, 3, 1), (coupling.fresh(6).reshape(2, 3, 1),), None, True)
    (made,), costs = contract(coupling, [queries, Value((2, 3, 4), maps)], {1}, "there", heads=True)
    assert torch.equal(made, values) and sum(cost.macs for cost in costs) == 2 * 3 * 4
    assert united(coupling, queries.maps[0], keys)
    assert len(set(coupling.components()[torch.cat([keys.flatten(), values.flatten()]).numpy()].tolist())) == 14


def test_each_head_makes_its_own_of_values_that_all_share() -> None:
    coupling = Coupling()
    queries, values = coupling.fresh(6).reshape(2, 1, 3, 1), coupling.fresh(4).reshape(1, 1, 1, 4)
    keys = Value((1, 5, 3, 1), (coupling.fresh(3).reshape(1, 1, 3, 1),), None, True)
    (heads,), _ = contract(coupling, [Value((2, 1, 3, 1), (queries,), None, True), keys], {2}, "here", heads=True)
    scores = Value((2, 5, 1, 1), (heads,), None, True)
    (made,), _ = contract(coupling, [scores, Value((1, 5, 1, 4), (values,), None, True)], {1}, "here")
    assert dims_of(made) == {0, 3}
    assert united(coupling, made[0], values) and united(coupling, made[1], values)
    assert len(set(coupling.solved()[1][made.reshape(-1).numpy()].tolist())) == 8


def test_several_kinds_of_units_that_meet_one_are_fixed() -> None:
    coupling = Coupling()
    joint = coupling.fresh(8).reshape(2, 4)
    heads, dims = coupling.fresh(2).reshape(2, 1), coupling.fresh(4).reshape(1, 4)
    unify(coupling, [Value((2, 4), (joint,)), Value((2, 4), (heads, dims))], "here")
    reasons, components = coupling.reasons(coupling.components()), coupling.components()
    assert all(int(components[label]) in reasons for label in range(1, coupling.count))


def test_a_product_ties_what_it_sums_over_and_leaves_the_head_behind() -> None:
    coupling = Coupling()
    q, k = coupling.fresh(8).reshape(1, 2, 1, 1, 4), coupling.fresh(8).reshape(1, 2, 1, 1, 4)
    left, right = Value((3, 2, 5, 1, 4), (q,), None, True), Value((3, 2, 1, 7, 4), (k,), None, True)
    maps, (cost,) = contract(coupling, [left, right], {4}, "here", heads=True)
    assert united(coupling, q, k)
    assert [dims_of(labels) for labels in maps] == [{1}]
    assert cost.macs == 3 * 2 * 5 * 7 * 4
    assert cost.factor == 3 * 5 * 7


def test_movement_takes_each_atom_along() -> None:
    coupling = Coupling()
    packed = coupling.fresh(24).reshape(1, 1, 24)
    value = moved(Value((2, 5, 24), (packed,)), lambda x: x.reshape(2, 5, 3, 2, 4).permute(2, 0, 3, 1, 4))
    (labels,) = value.maps
    assert value.shape == (3, 2, 2, 5, 4) and labels.shape == (3, 1, 2, 1, 4)
    assert torch.equal(labels[1, 0, 1, 0], packed[0, 0, 12:16])


def test_compression_drops_only_dimensions_without_change() -> None:
    labels = torch.arange(1, 5).reshape(2, 1, 2).expand(2, 3, 2).clone()
    assert compressed(labels).shape == (2, 1, 2)
    labels[0, 1, 0] = 9
    assert compressed(labels).shape == (2, 3, 2)


def test_placing_reorders_dimensions() -> None:
    labels = torch.arange(6).reshape(2, 3)
    value = placed(Value((2, 3), (labels,)), [3, 1], 4)
    assert value.shape == (1, 3, 1, 2)
    assert torch.equal(value.maps[0][0, :, 0, :], labels.T)
