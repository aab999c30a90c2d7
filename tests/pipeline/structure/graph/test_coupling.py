"""Atoms: what is united goes together, what is fixed stays, and the first reason is told."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from secateur.pipeline.structure.graph.coupling import FIXED, Atoms


@given(st.lists(st.tuples(st.integers(1, 20), st.integers(1, 20)), max_size=30))
def test_components_are_those_of_the_united_pairs(pairs: list[tuple[int, int]]) -> None:
    atoms = Atoms()
    atoms.fresh(20)
    sets = [{atom} for atom in range(21)]
    for one, two in pairs:
        atoms.unite(torch.tensor(one), torch.tensor([two]))
        merged = sets[one] | sets[two]
        for atom in merged:
            sets[atom] = merged
    found = atoms.components()
    assert [{b for b in range(21) if found[a] == found[b]} for a in range(21)] == sets


def test_uniting_broadcasts_position_by_position() -> None:
    atoms = Atoms()
    one, two, head = atoms.fresh(3), atoms.fresh(3), atoms.fresh(2)
    atoms.unite(one, two)
    atoms.unite(head[:, None], torch.tensor([[7], [8]]))
    found = atoms.components()
    assert found[one.numpy()].tolist() == found[two.numpy()].tolist()
    assert len(set(found.tolist())) == 1 + 3 + 2


def test_the_first_reason_is_told_for_a_whole_component() -> None:
    atoms = Atoms()
    one, two, free = atoms.fresh(2), atoms.fresh(2), atoms.fresh(1)
    atoms.unite(one, two)
    atoms.fix(two[:1], "first")
    atoms.fix(one, "second")
    components = atoms.components()
    reasons = atoms.reasons(components)
    assert [reasons.get(int(components[atom])) for atom in (*one, *free)] == ["first", "second", None]
    assert int(components[FIXED]) in reasons
    assert atoms.stuck(one) and not atoms.stuck(torch.cat([one, free]))


def test_marks_hold_for_components() -> None:
    atoms = Atoms()
    one, two = atoms.fresh(1), atoms.fresh(1)
    atoms.unite(one, two)
    atoms.mark(two, "width")
    components = atoms.components()
    assert atoms.marked("width", components) == {int(components[one[0]])}
    assert atoms.marked("norm", components) == set()
