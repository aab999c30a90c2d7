"""Tied layers: a weight that one operation uses as it is and another the other way round, and tables of tokens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.core.model_inputs import ModelInputs
from secateur.pipeline.scores.score import score
from secateur.pipeline.structure import wrong_readers
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.plan import plan_from_kept
from secateur.pipeline.structure.storage import load, save
from secateur.pipeline.structure.surgery import prune, verify

DECODERS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "linear, t()": lambda h, w, b: F.linear(h, w.t(), b),
    "@": lambda h, w, b: h @ w + b,
    "@ .T.T": lambda h, w, b: h @ w.T.T + b,
    "from the left": lambda h, w, b: (w.T @ h.mT).mT + b,
    "transpose twice": lambda h, w, b: torch.matmul(h, w.transpose(0, 1).transpose(0, 1)) + b,
    "einsum": lambda h, w, b: torch.einsum("bnh,hd->bnd", h, w) + b,
    "bmm": lambda h, w, b: torch.bmm(h, w.expand(len(h), -1, -1)) + b,
    "addmm": lambda h, w, b: torch.addmm(b, h.flatten(0, 1), w).unflatten(0, h.shape[:2]),
    "another type and back": lambda h, w, b: F.linear(h, w.t().double().float(), b),
}


class Tied(nn.Module):
    """An autoencoder `[B, N, 10]` whose decoder is its encoder the other way round."""

    def __init__(self, decode: str) -> None:
        super().__init__()
        self.first, self.encoder, self.last = nn.Linear(10, 12), nn.Linear(12, 20), nn.Linear(12, 5)
        self.bias, self.decode = nn.Parameter(torch.randn(12)), decode

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.encoder(self.first(x)).relu()
        out: Tensor = self.last(DECODERS[self.decode](hidden, self.encoder.weight, self.bias).tanh())
        return out


class TiedConvolution(nn.Module):
    """The same of convolutions, neither of them called where the weight is a parameter of the model."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.encoder, self.last = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 10, 3, padding=1), nn.Conv2d(6, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.encoder(self.first(x)).relu()
        return self.last(F.conv_transpose2d(hidden, self.encoder.weight, padding=1).tanh())  # type: ignore[no-any-return]


class Memory(nn.Module):
    """Features that pick among learned ones and are made anew of these: a parameter that is read and makes."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.memory, self.last = nn.Linear(10, 12), nn.Parameter(torch.randn(20, 12)), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.last((self.first(x) @ self.memory.T).relu() @ self.memory)  # type: ignore[no-any-return]


class Words(nn.Module):
    """Tokens whose table also gives the logits, as in language models."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.position = nn.Embedding(30, 16), nn.Embedding(6, 16)
        self.norm, self.mlp = nn.LayerNorm(16), nn.Sequential(nn.Linear(16, 24), nn.GELU(), nn.Linear(24, 16))

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids) + self.position(torch.arange(ids.shape[1]))
        return (x + self.mlp(self.norm(x))) @ self.embed.weight.T  # type: ignore[no-any-return]


def cut_and_stored(make: Callable[[], nn.Module], x: ModelInputs, units: dict[str, int], path: Path) -> nn.Module:
    """The model with half of the units of all groups, which are those expected, shown, saved and loaded."""
    torch.manual_seed(0)
    model = make().eval()
    groups = find_groups(model, x)
    assert {group.name: group.units for group in groups} == units
    assert groups.unverifiable == () and groups.adapted == ()
    plan = plan_from_kept(groups, {group.name: range(0, group.units, 2) for group in groups})
    small = prune(model, plan, groups)
    assert verify(small, model, plan, groups).unverifiable == ()
    save(small, path / "small")
    with torch.no_grad():
        torch.testing.assert_close(load(path / "small", factory=make)(x), small(x))
    return small


@pytest.mark.parametrize("decode", list(DECODERS))
def test_hidden_units_of_a_tied_autoencoder_go_from_both_its_layers(decode: str, tmp_path: Path) -> None:
    units = {"hidden": 12, "encoder.hidden": 20}
    small = cut_and_stored(lambda: Tied(decode), torch.randn(2, 3, 10), units, tmp_path)
    assert small.get_parameter("encoder.weight").shape == (10, 6)


def test_channels_of_tied_convolutions_go(tmp_path: Path) -> None:
    units = {"first.channels": 6, "encoder.channels": 10}
    small = cut_and_stored(TiedConvolution, torch.randn(2, 3, 6, 6), units, tmp_path)
    assert small.get_parameter("encoder.weight").shape == (5, 3, 3, 3)


def test_the_width_of_tokens_goes_from_their_table_and_from_the_logits(tmp_path: Path) -> None:
    units = {"embed.width": 16, "mlp.hidden": 24}
    small = cut_and_stored(Words, torch.randint(30, (2, 6)), units, tmp_path)
    embed = small.get_submodule("embed")
    assert isinstance(embed, nn.Embedding) and (embed.num_embeddings, embed.embedding_dim) == (30, 8)


def test_entries_of_a_table_stay_and_those_of_a_memory_go() -> None:
    fixed = {one.name: one.reason for one in find_groups(Words(), torch.randint(30, (2, 6))).fixed}
    assert fixed == {"embed.channels": "embed: its entries are looked up by their numbers"}
    groups = find_groups(Memory(), torch.randn(2, 3, 10))
    assert {group.units: [site.side for site in group.sites] for group in groups} == {20: ["input"], 12: ["input"] * 2}


@pytest.mark.parametrize("method", ["taylor", "activation", "lrp"])
@pytest.mark.parametrize("model", [Tied("@"), TiedConvolution()], ids=lambda model: type(model).__name__)
def test_tied_units_are_scored_where_they_are_read_or_made(model: nn.Module, method: str) -> None:
    x = torch.randn(4, 3, 6, 6) if isinstance(model, TiedConvolution) else torch.randn(4, 3, 10)
    groups = find_groups(model, x)
    made = next(group for group in groups if group.name.startswith("encoder"))
    expected = ("encoder", "output", "") if isinstance(model, TiedConvolution) else ("encoder", "input", "weight")
    assert [(site.module, site.side, site.weight) for site in made.sites] == [expected]
    classes = nn.Sequential(model, nn.Flatten(), nn.LazyLinear(3))
    classes(x)
    whole = find_groups(classes, x)
    found = score(classes, whole, [(x, torch.arange(4) % 3)], method=method)
    assert found.by_unit(f"0.{made.name}").std() > 0


def test_a_wrong_unit_of_a_tied_layer_is_seen_though_its_order_is_not() -> None:
    torch.manual_seed(0)
    model = Tied("@").eval()
    x = torch.randn(2, 3, 10)
    groups = find_groups(model, x)
    plan = plan_from_kept(groups, {"encoder.hidden": range(0, 20, 2)})
    small = prune(model, plan, groups)
    (wrong,) = wrong_readers.wrong_readers(groups, groups.named("encoder.hidden"), plan, small)
    assert wrong.order is not None and wrong.order.tolist() == [0, *range(9)]
    with torch.no_grad():
        right = small(x)
        for order, same in ((wrong.order, False), (torch.arange(10).roll(1), True)):
            layer = small.get_submodule("encoder")
            assert isinstance(layer, nn.Linear)
            weight, bias = layer.weight.data, layer.bias.data
            layer.weight.data, layer.bias.data = weight[order], bias[order]
            assert torch.allclose(small(x), right, atol=1e-4) == same
            layer.weight.data, layer.bias.data = weight, bias
