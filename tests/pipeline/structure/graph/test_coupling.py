"""Coupling: what is united goes together, what is fixed stays, and the first reason is told."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.pipeline.structure.graph.coupling import FIXED, Coupling


@given(st.lists(st.tuples(st.integers(1, 20), st.integers(1, 20)), max_size=30))
def test_components_are_those_of_the_united_pairs(pairs: list[tuple[int, int]]) -> None:
    coupling = Coupling()
    coupling.fresh(20)
    sets = [{label} for label in range(21)]
    for one, two in pairs:
        coupling.couple(torch.tensor(one), torch.tensor([two]))
        merged = sets[one] | sets[two]
        for label in merged:
            sets[label] = merged
    found = coupling.components()
    assert [{b for b in range(21) if found[a] == found[b]} for a in range(21)] == sets


def test_uniting_broadcasts_position_by_position() -> None:
    coupling = Coupling()
    one, two, head = coupling.fresh(3), coupling.fresh(3), coupling.fresh(2)
    coupling.couple(one, two)
    coupling.couple(head[:, None], torch.tensor([[7], [8]]))
    found = coupling.components()
    assert found[one.numpy()].tolist() == found[two.numpy()].tolist()
    assert len(set(found.tolist())) == 1 + 3 + 2


def test_a_reason_that_names_no_module_names_the_model() -> None:
    coupling = Coupling()
    one = coupling.fresh(1)
    coupling.fix(one, ": softmax runs over it")
    assert next(iter(coupling.reasons(coupling.components()).values())) == "the model itself: softmax runs over it"


def test_parts_go_together_unless_attention_tells_them_apart() -> None:
    coupling = Coupling()
    parts = coupling.fresh(2), coupling.fresh(2), coupling.fresh(2), coupling.fresh(2)
    coupling.couple_parts(parts[0], parts[1])
    coupling.couple_parts(parts[2], parts[3])
    coupling.mark(parts[3], "value")
    one, two, three, four = (coupling.components()[part.numpy()].tolist() for part in parts)
    assert one == two
    assert not set(three) & set(four)


def test_the_first_reason_is_told_for_a_whole_component() -> None:
    coupling = Coupling()
    one, two, free = coupling.fresh(2), coupling.fresh(2), coupling.fresh(1)
    coupling.couple(one, two)
    coupling.fix(two[:1], "first")
    coupling.fix(one, "second")
    components = coupling.components()
    reasons = coupling.reasons(components)
    assert [reasons.get(int(components[label])) for label in (*one, *free)] == ["first", "second", None]
    assert int(components[FIXED]) in reasons
    assert coupling.all_fixed(one) and not coupling.all_fixed(torch.cat([one, free]))


def test_marks_hold_for_components() -> None:
    coupling = Coupling()
    one, two = coupling.fresh(1), coupling.fresh(1)
    coupling.couple(one, two)
    coupling.mark(two, "width")
    components = coupling.components()
    assert coupling.marked("width", components) == {int(components[one[0]])}
    assert coupling.marked("norm", components) == set()


@settings(deadline=None, max_examples=30)
@given(made=st.lists(st.tuples(st.booleans(), st.integers(0, 4)), max_size=8), data=st.data())
def test_constants_are_the_labels_that_were_made_as_such(made: list[tuple[bool, int]], data: st.DataObject) -> None:
    coupling = Coupling()
    constant = {FIXED: False}
    for is_constant, number in made:
        found = coupling.constant(number) if is_constant else coupling.fresh(number)
        constant.update(dict.fromkeys(found.tolist(), is_constant))
    asked = data.draw(st.lists(st.sampled_from(sorted(constant)), min_size=1, max_size=4))
    assert coupling.is_constant(torch.tensor(asked)) == all(constant[label] for label in asked)


def test_blocks_of_the_same_labels_are_one_head() -> None:
    """Two samples of two windows of three heads, whose dimensions are the same labels in each."""
    coupling = Coupling()
    labels = coupling.fresh(12).reshape(1, 3, 1, 4).expand(2, 3, 2, 4)
    heads = coupling.heads_of(labels.reshape(12, 4), {1})
    assert torch.equal(heads.reshape(2, 3, 2), heads.reshape(2, 3, 2)[:1, :, :1].expand(2, 3, 2))
    assert len(heads.unique()) == 3 and coupling.is_heads(heads)
    assert heads.shape == (12, 1)
