"""Heads of attention that no class name tells: written out, with shared keys, with biases of a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from timm.layers.halo_attn import HaloAttn
from torch import Tensor, nn
from torch._dynamo import config

from secateur.pipeline.structure.account import unaccounted
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.graph.heads import TOGETHER
from secateur.pipeline.structure.graph.unify import PIECE
from secateur.pipeline.structure.groups import Group, Groups
from secateur.pipeline.structure.plan import plan_from_kept
from secateur.pipeline.structure.surgery import prune
from tests.later import mostly_nightly
from tests.pipeline.structure.graph.attentions import IMAGE, WAYS, made

HEADS, DIMS, WIDTH, TOKENS = 4, 3, 10, 5


@pytest.fixture(autouse=True)
def _uncached() -> Iterator[None]:
    """PyTorch's tracer remembers no operations: of small models with many open lengths that takes most of the time."""
    with config.patch(fake_tensor_cache_enabled=False):
        yield


class Block(nn.Module):
    """Attention as a function of queries, keys and values `[B, heads, tokens, dims]`, with its input beside it."""

    def __init__(self, keys: int = HEADS) -> None:
        super().__init__()
        self.keys = keys
        self.q, self.kv = nn.Linear(WIDTH, HEADS * DIMS), nn.Linear(WIDTH, 2 * keys * DIMS)
        self.proj = nn.Linear(HEADS * DIMS, WIDTH)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        repeat = HEADS // self.keys
        k, v = (part.repeat_interleave(repeat, dim=1) for part in (k, v))
        return (q @ k.mT).softmax(-1) @ v

    def forward(self, x: Tensor) -> Tensor:
        q = self.q(x).unflatten(-1, (HEADS, DIMS)).transpose(1, 2)
        k, v = self.kv(x).unflatten(-1, (2, self.keys, DIMS)).permute(2, 0, 3, 1, 4).unbind(0)
        out: Tensor = self.proj(self.attend(q, k, v).transpose(1, 2).flatten(2))
        return out


class Cosine(Block):
    """The length of queries and keys does not count."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return super().attend(F.normalize(q, dim=-1), F.normalize(k, dim=-1), v)


class Normalised(Block):
    """Queries are normalised by a layer that all heads share."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(DIMS)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return super().attend(self.norm(q), k, v)


class Scaled(Block):
    """The dimensions of all heads are scaled alike."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.rand(DIMS))

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return super().attend(q * self.scale, k, v)


class Model(nn.Module):
    """One attention between two layers."""

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.first, self.a, self.last = nn.Linear(WIDTH, WIDTH), attention, nn.Linear(WIDTH, 7)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(self.a(self.first(x)).mean(1))
        return out


def found(attention: nn.Module) -> Groups:
    return find_groups(Model(attention).eval(), torch.zeros(1, TOKENS, WIDTH))


def test_a_head_has_its_queries_keys_and_values() -> None:
    groups = found(Block())
    heads = next(group for group in groups if group.kind == "head")
    assert heads.units == HEADS
    assert {group.kind for group in groups if group.parent == heads.name} == {"qk_dim", "v_dim"}
    rows = [head for head in range(HEADS) for _ in range(DIMS)]
    at = {(part.tensor, part.dim): list(part.units) for part in heads.slices}
    assert at == {
        ("a.q.weight", 0): rows,
        ("a.q.bias", 0): rows,
        ("a.kv.weight", 0): rows * 2,
        ("a.kv.bias", 0): rows * 2,
        ("a.proj.weight", 1): rows,
    }
    assert [(site.module, site.side, list(site.units)) for site in heads.sites] == [("a.proj", "input", rows)]


def test_heads_go_and_others_lose_dimensions() -> None:
    torch.manual_seed(0)
    model = Model(Block()).eval()
    groups = find_groups(model, torch.zeros(1, TOKENS, WIDTH))
    kept = {"a.kv.heads": (0, 2, 3), "a.kv.v": (0, 2, 6, 7, 9, 11), "a.q.qk": (1, 2, 7, 8, 9, 10)}
    assert set(kept) <= {group.name for group in groups}
    small = prune(model, plan_from_kept(groups, kept), groups)
    shapes = {name: tuple(tensor.shape) for name, tensor in small.state_dict().items()}
    assert (shapes["a.q.weight"], shapes["a.kv.weight"]) == ((6, WIDTH), (12, WIDTH))
    assert groups.params(plan_from_kept(groups, kept).kept) == sum(p.numel() for p in small.parameters())


def test_heads_that_share_keys_go_together() -> None:
    torch.manual_seed(0)
    model = Model(Block(keys=2)).eval()
    groups = find_groups(model, torch.zeros(1, TOKENS, WIDTH))
    heads = next(group for group in groups if group.kind == "head")
    assert heads.units == 2
    small = prune(model, plan_from_kept(groups, {heads.name: (1,)}), groups)
    assert small.state_dict()["a.q.weight"].shape == (2 * DIMS, WIDTH)
    assert small.state_dict()["a.kv.weight"].shape == (2 * DIMS, WIDTH)


@pytest.mark.parametrize("kind", [Normalised, Scaled])
def test_heads_go_where_all_share_what_treats_their_dimensions(kind: type[Block]) -> None:
    torch.manual_seed(0)
    model = Model(kind()).eval()
    groups = find_groups(model, torch.zeros(1, TOKENS, WIDTH))
    found = {group.kind: group for group in groups}
    assert (found["head"].units, found["qk_dim"].units, found["v_dim"].units) == (HEADS, DIMS, HEADS * DIMS)
    assert (found["qk_dim"].parent, found["v_dim"].parent) == ("", found["head"].name)
    kept = {found["head"].name: (0, 3), found["qk_dim"].name: (0, 2)}
    small = prune(model, plan_from_kept(groups, kept), groups)
    rows = [head * DIMS + dim for head in (0, 3) for dim in (0, 2)]
    assert torch.equal(small.state_dict()["a.q.weight"], model.a.q.weight[rows])
    assert groups.params(kept) == sum(p.numel() for p in small.parameters())


def test_dimensions_of_queries_and_keys_whose_length_does_not_count_go_in_each_head() -> None:
    torch.manual_seed(0)
    model = Model(Cosine()).eval()
    groups = find_groups(model, torch.zeros(1, TOKENS, WIDTH))
    qk = next(group for group in groups if group.kind == "qk_dim")
    assert (qk.units, qk.blocks, qk.parent) == (HEADS * DIMS, HEADS, "a.kv.heads")
    assert groups.fixed == () and unaccounted(groups) == ()
    small = prune(model, plan_from_kept(groups, {qk.name: (0, 2, 4, 5, 6, 7, 9, 10), "a.kv.heads": (0, 1, 3)}), groups)
    assert torch.equal(small.state_dict()["a.q.weight"], model.a.q.weight[[0, 2, 4, 5, 9, 10]])


class Added(Block):
    """The same numbers are added to the queries of every head, as a place in the picture might be."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return super().attend(q + torch.linspace(0, 1, DIMS), k, v)


def test_heads_alone_go_where_all_get_the_same_numbers() -> None:
    groups = found(Added())
    assert {group.kind for group in groups if group.kind != "mlp_hidden"} == {"head", "v_dim"}
    assert [(one.kind, one.reason) for one in groups.fixed] == [("qk_dim", PIECE)]


class OneForAll(Block):
    """One head of keys and one of values for the queries of all heads, repeated in different ways."""

    def __init__(self, repeat: Callable[[Tensor], Tensor] | None) -> None:
        super().__init__(keys=1)
        self.repeat = repeat

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if self.repeat is None:
            return F.scaled_dot_product_attention(q, k, v, enable_gqa=True)
        return (q @ self.repeat(k).mT).softmax(-1) @ self.repeat(v)


REPEATS: dict[str, Callable[[Tensor], Tensor] | None] = {
    "expand": lambda x: x.expand(-1, HEADS, -1, -1),
    "repeat": lambda x: x.repeat(1, HEADS, 1, 1),
    "repeat_interleave": lambda x: x.repeat_interleave(HEADS, 1),
    "expand, merged": lambda x: x[:, :, None].expand(-1, -1, HEADS, -1, -1).flatten(1, 2),
    "enable_gqa": None,
}


@pytest.mark.parametrize("repeat", list(REPEATS))
def test_queries_lose_heads_whose_keys_and_values_are_those_of_all(repeat: str) -> None:
    groups = found(model := OneForAll(REPEATS[repeat]))
    sizes = {group.kind: (group.units, group.blocks) for group in groups if group.kind != "mlp_hidden"}
    assert sizes == {"head": (HEADS, 1), "qk_dim": (DIMS, 1), "v_dim": (DIMS, 1)}
    assert groups.fixed == groups.unverifiable == ()
    kept = {group.name: range(group.units - 1) for group in groups if group.kind in sizes}
    small = prune(Model(model).eval(), plan_from_kept(groups, kept), groups).get_submodule("a")
    assert small.get_parameter("q.weight").shape[0] == (HEADS - 1) * (DIMS - 1)
    assert small.get_parameter("kv.weight").shape[0] == 2 * (DIMS - 1)


class Values(Block):
    """Values are normalised head by head, with or without a scale of their own."""

    def __init__(self, scale: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(DIMS, elementwise_affine=scale)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return super().attend(q, k, self.norm(v))


@pytest.mark.parametrize("scale", [True, False])
def test_values_normalised_in_each_head_lose_the_same_dimensions_in_all(scale: bool) -> None:
    torch.manual_seed(0)
    model = Model(Values(scale)).eval()
    groups = find_groups(model, torch.zeros(1, TOKENS, WIDTH))
    values = next(group for group in groups if group.kind == "v_dim")
    assert values.units == DIMS
    small = prune(model, plan_from_kept(groups, {values.name: (0, 2)}), groups)
    assert small.get_submodule("a.norm").normalized_shape == (2,)
    assert small.state_dict()["a.proj.weight"].shape == (WIDTH, 2 * HEADS)


class Insisting(Block):
    """Code that wants all its heads."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if q.shape[1] != HEADS:
            raise ValueError("all heads were expected")
        return super().attend(q, k, v)


class Flexible(Insisting):
    """Code that takes any dimensions of its heads, and turns gradients on, so that it cannot be taken over."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        with torch.enable_grad():
            return super().attend(q, k, v)

    def forward(self, x: Tensor) -> Tensor:
        q = self.q(x).unflatten(-1, (HEADS, -1)).transpose(1, 2)
        k, v = self.kv(x).tensor_split((q[0, 0].shape[1] * HEADS,), dim=-1)
        k, v = (part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in (k, v))
        out: Tensor = self.proj(self.attend(q, k, v).transpose(1, 2).flatten(2))
        return out


def test_code_that_insists_on_all_heads_is_taken_over() -> None:
    groups = found(Insisting())
    assert "head" in {group.kind for group in groups}
    assert groups.adapted == ("a",)


def test_dimensions_stay_free_where_heads_cannot_go() -> None:
    groups = found(Flexible())
    assert {group.kind: group.parent for group in groups} == {"mlp_hidden": "", "qk_dim": "", "v_dim": ""}
    assert [one.kind for one in groups.fixed if "own code" in one.reason] == ["head"]


PACKED = {"head": (4, 1), "qk_dim": (16, 4), "v_dim": (16, 4)}
CHANNELS = {"head": (4, 1), "v_dim": (16, 4)}
FOUND: dict[str, dict[str, tuple[int, int]]] = {
    "chunked": PACKED,
    "among the samples": PACKED,
    "places (SAM)": {"head": (4, 1), "qk_dim": (4, 1), "v_dim": (16, 4)},
    "biased by a network": PACKED,
    "linear": {"head": (4, 1), "v_dim": (16, 4)},
    "of other tokens": PACKED,
    **{f"grouped, {way}": {"head": (2, 1), "qk_dim": (8, 2), "v_dim": (8, 2)} for way in WAYS},
    "padded": PACKED,
    "learned queries": PACKED,
    "many queries": {"head": (4, 1), "qk_dim": (6, 1), "v_dim": (4, 1)},
    "pooled": {"head": (4, 1), "qk_dim": (4, 1), "v_dim": (4, 1)},
    "pooled with its queries": {"head": (4, 1), "v_dim": (4, 1)},
    "channels (EdgeNeXt)": CHANNELS,
    "channels (XCiT)": CHANNELS,
    "channels (DaViT)": CHANNELS,
    "channels (DaViT 2)": CHANNELS,
}
"""For each attention the kinds of its groups, with their units and blocks; what is missing is fixed."""


@pytest.mark.parametrize("name", mostly_nightly(FOUND, list(FOUND)[::2]))
def test_whole_heads_and_their_dimensions_go_in_attention_of_many_kinds(name: str) -> None:
    model = made(name)
    groups = find_groups(model, IMAGE)
    own = [group for group in groups if group.kind in ("head", "qk_dim", "v_dim")]
    assert {group.kind: (group.units, group.blocks) for group in own} == FOUND[name]
    assert unaccounted(groups) == () and groups.unverifiable == ()
    told = {one.kind for one in groups.fixed}
    assert told <= {"qk_dim"} and ("qk_dim" in told) != any(
        "queries" in name or group.kind == "qk_dim" for group in own
    )
    for kinds in (("head",), ("qk_dim", "v_dim")):
        kept = {group.name: _half(group) for group in own if group.kind in kinds}
        small = prune(model, plan_from_kept(groups, kept), groups)
        assert sum(p.numel() for p in small.parameters()) == groups.params(kept) < groups.params()
        assert groups.macs(kept) < groups.macs()


def test_heads_over_windows_with_a_table_of_positions_go() -> None:
    """As in HaloNet: heads lie among the samples, and then among the windows of all of them, where a table is added."""
    halo = HaloAttn(16, num_heads=2, dim_head=8, block_size=4, halo_size=1)
    layers = [nn.Conv2d(3, 16, 1), halo, nn.BatchNorm2d(16), nn.Conv2d(16, 4, 1)]
    groups = find_groups(nn.Sequential(*layers).eval(), torch.randn(2, 3, 8, 8), verify=False)
    found = {group.kind: (group.units, group.blocks) for group in groups if group.kind != "channel"}
    assert found == {"head": (2, 1), "qk_dim": (8, 1), "v_dim": (16, 2)}


def _half(group: Group) -> list[int]:
    """The first half of the units of each block."""
    width = group.units // group.blocks
    return [unit for unit in range(group.units) if unit % width < (width + 1) // 2]


def test_heads_that_are_mixed_go_as_queries_and_as_values() -> None:
    groups = find_groups(made("talking heads"), IMAGE)
    heads = {group.name: [part.tensor for part in group.slices] for group in groups if group.kind == "head"}
    assert heads == {
        "a.qkv.heads": ["a.qkv.weight", "a.proj_l.weight"],
        "a.qkv.heads.2": ["a.qkv.weight", "a.proj.weight", "a.proj_w.weight", "a.proj_w.bias"],
    }
    assert {group.kind: group.parent for group in groups if group.parent} == {
        "qk_dim": "a.qkv.heads",
        "v_dim": "a.qkv.heads.2",
    }
    assert groups.fixed == ()


@pytest.mark.parametrize(("name", "dims"), [("several scales", 0), ("several scales of wide heads", 16)])
def test_heads_that_a_grouped_convolution_sees_one_by_one_go_with_its_groups(name: str, dims: int) -> None:
    model = made(name)
    groups = find_groups(model, IMAGE)
    heads = next(group for group in groups if group.kind == "head")
    own = [group for group in groups if group.kind in ("qk_dim", "v_dim")]
    assert heads.units == HEADS and [(group.kind, group.units) for group in own] == [("v_dim", dims)] * (dims > 0)
    told = {one.kind: one.reason for one in groups.fixed}
    assert told == ({} if dims else {"qk_dim": TOGETHER, "v_dim": TOGETHER})
    assert groups.unverifiable == () and unaccounted(groups) == ()
    small = prune(model, plan_from_kept(groups, {heads.name: (1, 3, 2)}), groups)
    dense, left = (one.get_submodule("a.aggreg.0.1") for one in (model, small))
    assert (dense.groups, left.groups) == (3 * HEADS, 3 * 3)
    width = len(dense.weight) // (3 * HEADS)
    assert torch.equal(left.weight, dense.weight[3 * width :])
    for group in own:  # queries, keys and values together, the same of every head
        left = prune(model, plan_from_kept(groups, {group.name: range(dims // 2)}), groups).get_submodule(
            "a.aggreg.0.1"
        )
        assert left.weight.shape[:2] == (3 * HEADS * dims // 2, dims // 2)


def test_heads_that_differ_go_on_their_own_and_keep_the_same_dimensions() -> None:
    model = made("several kernels")
    groups = find_groups(model, IMAGE)
    found = {group.name: (group.kind, group.units, group.blocks) for group in groups if group.kind in ("head", "v_dim")}
    assert found == {
        "a.qkv.heads": ("head", HEADS // 2, 1),
        "a.qkv.heads.2": ("head", HEADS // 2, 1),
        "a.qkv.v": ("v_dim", 4, 1),
    }
    assert groups.fixed == () and groups.unverifiable == () and unaccounted(groups) == ()
    small = prune(model, plan_from_kept(groups, {"a.qkv.heads.2": (1,), "a.qkv.v": (1, 2, 3)}), groups)
    left = small.state_dict()
    assert [len(left[f"a.{name}.weight"]) for name in ("qkv", "one", "three")] == [3 * 3 * 3, 2 * 3, 3]
    assert torch.equal(left["a.three.weight"], model.a.three.weight[[5, 6, 7]])


SWIN: dict[str, Any] = {"img_size": 32, "depths": (2, 1), "num_heads": (2, 4), "embed_dim": 16, "window_size": 4}
FAMILIES: dict[str, tuple[str, dict[str, Any], int, str]] = {
    "shifted windows": ("swin_tiny_patch4_window7_224", SWIN, 32, "layers.0.blocks.1.attn.qkv.heads"),
    "queries without a site": (
        "beit_base_patch16_224",
        {"img_size": 32, "depth": 1, "embed_dim": 48, "num_heads": 3},
        32,
        "blocks.0.attn.qkv.heads",
    ),
}


@pytest.mark.parametrize("case", list(FAMILIES))
def test_a_table_of_biases_loses_the_columns_of_its_heads(case: str) -> None:
    name, settings, size, heads = FAMILIES[case]
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=7, **settings).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)  # some tables begin with zeros, which would hide a mistake
    groups = find_groups(model, torch.zeros(1, 3, size, size))
    table = next(part for part in groups.named(heads).slices if part.tensor.endswith("relative_position_bias_table"))
    small = prune(model, plan_from_kept(groups, {heads: (1,)}), groups)
    assert small.state_dict()[table.tensor].shape[1] == 1
    assert torch.equal(small.state_dict()[table.tensor][:, 0], model.state_dict()[table.tensor][:, 1])


class DimensionsFirst(nn.Module):
    """Attention over pixels with dimensions before tokens, and a convolution beside its values (YOLO)."""

    def __init__(self, width: int = 16, heads: int = 2) -> None:
        super().__init__()
        self.heads, self.dims = heads, width // heads
        self.qkv, self.proj = nn.Conv2d(width, 2 * width, 1), nn.Conv2d(width, width, 1)
        self.pe = nn.Conv2d(width, width, 3, padding=1, groups=width)

    def forward(self, x: Tensor) -> Tensor:
        b, _, h, w = x.shape
        half = self.dims // 2
        q, k, v = self.qkv(x).view(b, self.heads, 2 * self.dims, h * w).split([half, half, self.dims], 2)
        y = v @ (q.mT @ k * half**-0.5).softmax(-1).mT
        out: Tensor = self.proj(y.reshape(b, -1, h, w) + self.pe(v.reshape(b, -1, h, w)))
        return out


def test_dimensions_may_come_before_tokens() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 16, 1), DimensionsFirst(), nn.Conv2d(16, 4, 1)).eval()
    groups = find_groups(model, torch.randn(1, 3, 5, 5))
    kinds = {group.kind: (group.units, group.blocks, group.parent) for group in groups if "qkv" in group.name}
    assert kinds == {"head": (2, 1, ""), "qk_dim": (8, 2, "1.qkv.heads"), "v_dim": (16, 2, "1.qkv.heads")}
    for kept in ({"1.qkv.v": [0, 2, 7, 8, 9, 12]}, {"1.qkv.qk": [0, 3, 4, 5]}, {"1.qkv.heads": [1]}):
        prune(model, plan_from_kept(groups, kept), groups)
