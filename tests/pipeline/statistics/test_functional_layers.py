"""Layers whose weights are handed to a function show their values as layers that are called do."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.core.errors import PlanError
from secateur.pipeline.plan.budget import Budget
from secateur.pipeline.plan.make import make_plan
from secateur.pipeline.scores.score import score
from secateur.pipeline.statistics.capture import observed
from secateur.pipeline.statistics.functional_layers import FunctionalLayers
from secateur.pipeline.statistics.mask_hooks import multiplied
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Site
from secateur.pipeline.structure.plan import Plan
from secateur.pipeline.structure.surgery import prune

X, Y = torch.randn(4, 3, 8, 8), torch.arange(4)


class Attention(nn.Module):
    """Two heads of four dimensions, whose layers are called or not."""

    def __init__(self, functional: bool) -> None:
        super().__init__()
        self.qkv, self.proj, self.functional = nn.Linear(8, 24), nn.Linear(8, 8), functional

    def call(self, layer: nn.Linear, x: Tensor) -> Tensor:
        out: Tensor = F.linear(x, layer.weight, layer.bias) if self.functional else layer(x)
        return out

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        q, k, v = self.call(self.qkv, x).reshape(b, n, 3, 2, 4).permute(2, 0, 3, 1, 4)
        x = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, c)
        return self.call(self.proj, x)


class Torch(nn.Module):
    """PyTorch's own attention, which hands all of its weights to functions."""

    def __init__(self) -> None:
        super().__init__()
        self.mha = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.mha(x, x, x, need_weights=False)[0]
        return out


class Net(nn.Module):
    """A classifier with an attention, of the same weights whatever the attention."""

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.patch, self.attention = nn.Conv2d(3, 8, 4, 4), attention
        self.up, self.down = nn.Linear(8, 12), nn.Linear(12, 5)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.5)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down(self.up(self.attention(self.patch(x).flatten(2).mT)).relu()).mean(1)
        return out


@pytest.mark.parametrize("method", ["magnitude", "taylor", "activation", "obs", "integrated_gradients", "lrp"])
def test_scores_are_those_of_the_layers_when_they_are_called(method: str) -> None:
    called, functional = Net(Attention(False)).eval(), Net(Attention(True)).eval()
    found = [find_groups(model, X, verify=False) for model in (called, functional)]
    assert [group.name for group in found[0]] == [group.name for group in found[1]]
    assert {site.weight for group in found[1] if group.kind in ("head", "qk_dim") for site in group.sites} == {"weight"}
    one, two = (score(m, g, [(X, Y)], method) for m, g in zip((called, functional), found, strict=True))
    for name, expected in one.values.items():
        torch.testing.assert_close(two.values[name], expected, rtol=1e-4, atol=1e-7)


def test_pytorchs_attention_shows_what_its_projection_makes_and_its_output_layer_reads() -> None:
    net = Net(Torch()).eval()
    sites = [
        Site("attention.mha", "output", -1, (), "in_proj_weight"),
        Site("attention.mha.out_proj", "input", -1, (), "weight"),
    ]
    with torch.no_grad(), observed(net, sites) as values:
        out = net(X)
    torch.testing.assert_close(out, net(X))
    x = net.patch(X).flatten(2).mT
    mha = net.attention.get_submodule("mha")
    packed = F.linear(x, mha.in_proj_weight, mha.in_proj_bias)
    q, k, v = packed.unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
    read = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    # it computes with tokens first, and its output layer reads all tokens of all samples as rows
    torch.testing.assert_close(values["attention.mha.in_proj_weight", "output"].transpose(0, 1), packed)
    rows = values["attention.mha.out_proj.weight", "input"].reshape(4, 4, 8)
    torch.testing.assert_close(rows.transpose(0, 1), read)


def test_factors_reach_the_units_of_layers_that_are_not_called() -> None:
    net = Net(Attention(True)).eval()
    groups = find_groups(net, X, verify=False)
    factors = torch.tensor([1.0, 0.0])
    with torch.no_grad(), multiplied(net, groups, {"attention.qkv.heads": factors}):
        masked = net(X)
    with torch.no_grad():
        net.attention.proj.weight[:, 4:] = 0
    torch.testing.assert_close(masked, net(X))


class Separate(nn.Module):
    """What `nn.MultiheadAttention` computes, by layers that are called."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.out_proj = (nn.Linear(8, 8) for _ in range(4))

    def forward(self, q: Tensor, k: Tensor, v: Tensor, **_options: object) -> tuple[Tensor, None]:
        parts = zip((self.q, self.k, self.v), (q, k, v), strict=True)
        q, k, v = (layer(x.transpose(0, 1)).unflatten(-1, (2, 4)).transpose(1, 2) for layer, x in parts)
        read = F.scaled_dot_product_attention(q, k, v).permute(2, 0, 1, 3).flatten(2)
        return self.out_proj(read), None


class Asking(nn.Module):
    """Attention whose queries, keys and values are of three inputs, tokens before samples."""

    def __init__(self, separate: bool, **options: object) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.patch, self.head, self.options = nn.Conv2d(3, 8, 4, 4), nn.Linear(8, 5), options
        self.mha: nn.Module = nn.MultiheadAttention(8, 2)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.5)
        if separate:
            state = self.mha.state_dict()
            for end in ("weight", "bias"):
                state.update(zip((f"{n}.{end}" for n in "qkv"), state.pop(f"in_proj_{end}").chunk(3), strict=True))
            self.mha = Separate()
            self.mha.load_state_dict(state)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).permute(2, 0, 1)
        out: Tensor = self.head(self.mha(x[:3].relu(), x.flip(0), 2 * x, **self.options)[0].mean(0))
        return out


SCORES = ["magnitude", "taylor", "activation", "obs", "integrated_gradients", "lrp", "xmask"]


def test_attention_of_three_inputs_scores_as_its_layers_do_when_they_are_called() -> None:
    packed, called = Asking(False, need_weights=False).eval(), Asking(True).eval()
    torch.testing.assert_close(packed(X), called(X))
    names = {"mha.qk": "mha.q.qk", "mha.v": "mha.v.v", "mha.heads": "mha.v.heads"}
    groups, twin = find_groups(packed, X), find_groups(called, X)
    assert names.keys() <= {group.name for group in groups}
    assert set(names.values()) <= {group.name for group in twin}
    for method in SCORES:
        found, expected = (score(m, g, [(X, Y)], method).values for m, g in ((packed, groups), (called, twin)))
        for one, other in names.items():
            torch.testing.assert_close(found[one], expected[other], rtol=1e-3, atol=1e-5)


def test_heads_and_dimensions_of_three_inputs_go_unevenly() -> None:
    model = Asking(False, attn_mask=torch.eye(3, 4).bool()).eval()  # it averages its scores, which nobody reads
    groups = find_groups(model, X)
    kept = {"mha.heads": [1], "mha.qk": [5, 7], "mha.v": [4, 5, 6]}
    small = prune(model, Plan(kept, groups.fingerprint(), groups.inputs), groups)
    assert small.state_dict()["mha.in_proj_weight"].shape == (2 + 2 + 3, 8)


def test_pytorchs_attention_is_pruned_by_what_its_values_say() -> None:
    net = Net(Torch()).eval()
    groups = find_groups(net, X)
    assert {"attention.mha.heads", "patch.channels"} <= {group.name for group in groups}
    for method in ("taylor", "obs"):
        plan = make_plan(groups, score(net, groups, [(X, Y)], method), Budget(macs=0.7), align=1)
        prune(net, plan, groups)


def test_what_no_pass_shows_is_missed_in_a_sentence() -> None:
    net = Net(Torch()).eval()
    with torch.no_grad(), observed(net, [Site("attention.mha.out_proj", "input", -1, ())]) as values:
        net(X)
    with pytest.raises(PlanError, match=r"the input of attention\.mha\.out_proj was not seen"):
        values["attention.mha.out_proj", "input"]


def test_there_is_nothing_to_do_for_layers_that_are_called() -> None:
    assert not FunctionalLayers(Net(Attention(False)), [Site("attention.qkv", "input", -1, ())], lambda _key, x: x)
