"""The study of random networks: each piece runs and trains, and a planted fault ends as what it is."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from secateur_studies.random_networks import examined
from secateur_studies.random_pieces import PIECES, WRAPPERS, RandomNet, random_network
from torch import nn

import secateur as sc
from secateur.core.errors import PlanError
from secateur.core.model_inputs import call


@pytest.mark.parametrize("piece", range(len(PIECES)), ids=lambda index: getattr(PIECES[index], "__name__", ""))
def test_each_piece_keeps_the_shape_and_trains(piece: int) -> None:
    model = RandomNet([piece], 8, "tuple")
    logits, (features,) = model(torch.randn(3, 3, 6, 6))
    assert logits.shape == (3, 5)
    assert features.shape == (3, 8, 6, 6)
    logits.square().sum().backward()
    assert model.stem[0].weight.grad.abs().sum() > 0


def test_networks_are_drawn_from_their_number_and_called_in_every_way() -> None:
    seen = set()
    for number in range(40):
        model, example, words = random_network(random.Random(number))
        again, _, same = random_network(random.Random(number))
        assert words == same
        assert all(torch.equal(one, two) for one, two in zip(model.parameters(), again.parameters(), strict=True))
        seen.add(words.split()[0])
        with torch.no_grad():
            call(model, example)
    assert seen == set(WRAPPERS)


def test_every_fault_ends_as_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    simple = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 2, 1)).eval()
    example = torch.randn(2, 3, 6, 6)
    monkeypatch.setattr("secateur_studies.random_pieces.random_network", lambda draw: (simple, example, "simple"))
    assert examined(0)["end"] == "proven"

    prune = sc.prune

    def wrong(*given: Any) -> nn.Module:
        small = prune(*given)
        with torch.no_grad():
            small.get_submodule("2").weight.mul_(1.01)  # type: ignore[union-attr, operator]
        return small

    def frozen(*given: Any) -> nn.Module:
        return prune(*given).requires_grad_(False)

    def refused(*given: Any) -> nn.Module:
        raise PlanError("no")

    def raised(*given: Any) -> nn.Module:
        raise RuntimeError("shape '[2, 3]' is invalid")

    ends = {}
    for fault in (wrong, frozen, refused, raised):
        monkeypatch.setattr(sc, "prune", fault)
        ends[fault.__name__] = examined(0)
    assert {name: row["end"] for name, row in ends.items()} == {
        "wrong": "wrong",
        "frozen": "wrong",
        "refused": "refused",
        "raised": "raised",
    }
    assert "removed and masked differ" in ends["wrong"]["why"]
    assert "in training the dense network has gradients" in ends["frozen"]["why"]
