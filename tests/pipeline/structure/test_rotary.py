"""Rotary embeddings: what one rotation couples goes together, in queries and keys alike, as models write it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import timm
import torch
import torch.nn.functional as F
from timm.layers.pos_embed_sincos import apply_rot_embed_cat
from torch import Tensor, nn

from secateur.pipeline.structure.account import unaccounted
from secateur.pipeline.structure.cutting import cut
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Groups
from secateur.pipeline.structure.masking import masked
from secateur.pipeline.structure.plan import Plan, plan_from_kept
from secateur.pipeline.structure.surgery import prune
from secateur.pipeline.structure.verification_weights import VerificationWeights

WIDTH, HEADS, DIMS, LONGEST = 10, 3, 8, 80
Turn = Callable[[Tensor, Tensor], Tensor]
"""Turns queries or keys `[B, heads, N, dims]` by angles `[N, dims / 2]`."""


def halves(x: Tensor, angles: Tensor) -> Tensor:
    """As transformers' Llama: dimension i turns with i + dims / 2."""
    angles = torch.cat([angles, angles], -1)
    one, two = x.chunk(2, -1)
    return x * angles.cos() + torch.cat([-two, one], -1) * angles.sin()


def halves_by_slices(x: Tensor, angles: Tensor) -> Tensor:
    """As transformers' `rotate_half`, which takes the first and the last half of the dimensions."""
    angles = torch.cat([angles, angles], -1)
    other = torch.cat([-x[..., x.shape[-1] // 2 :], x[..., : x.shape[-1] // 2]], -1)
    return x * angles.cos() + other * angles.sin()


def halves_one_by_one(x: Tensor, angles: Tensor) -> Tensor:
    """As GPT-NeoX: each half is made of both, with angles for one of them."""
    one, two = x.chunk(2, -1)
    return torch.cat([one * angles.cos() - two * angles.sin(), two * angles.cos() + one * angles.sin()], -1)


def neighbours(x: Tensor, angles: Tensor) -> Tensor:
    """As GPT-J: dimension 2i turns with 2i + 1."""
    angles = angles.repeat_interleave(2, -1)
    other = torch.stack([-x[..., 1::2], x[..., ::2]], -1).flatten(-2)
    return x * angles.cos() + other * angles.sin()


def neighbours_one_by_one(x: Tensor, angles: Tensor) -> Tensor:
    """As Llama without complex numbers: a dimension of two for the pairs."""
    one, two = x.unflatten(-1, (-1, 2)).unbind(-1)
    turned = [one * angles.cos() - two * angles.sin(), two * angles.cos() + one * angles.sin()]
    return torch.stack(turned, -1).flatten(-2)


def complex_numbers(x: Tensor, angles: Tensor) -> Tensor:
    """As Llama: pairs of neighbours are complex numbers, angles are those of the unit circle."""
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * torch.polar(torch.ones_like(angles), angles)).flatten(-2)


def timm_halves(x: Tensor, angles: Tensor) -> Tensor:
    """As timm's DINOv3."""
    both = torch.cat([angles, angles], -1)
    return apply_rot_embed_cat(x, torch.cat([both.sin(), both.cos()], -1), half=True)


def timm_neighbours(x: Tensor, angles: Tensor) -> Tensor:
    """As timm's EVA-02."""
    both = angles.repeat_interleave(2, -1)
    return apply_rot_embed_cat(x, torch.cat([both.sin(), both.cos()], -1))


def a_part(x: Tensor, angles: Tensor) -> Tensor:
    """As GPT-NeoX with a share of the dimensions: the others pass as they are."""
    turned, passed = x[..., : DIMS // 2], x[..., DIMS // 2 :]
    return torch.cat([halves(turned, angles[:, : DIMS // 4]), passed], -1)


def both_axes(x: Tensor, angles: Tensor) -> Tensor:
    """As Gemma's vision tower: half of the dimensions turn with the row, the others with the column."""
    return torch.cat([halves(part, by) for part, by in zip(x.chunk(2, -1), angles.chunk(2, -1), strict=True)], -1)


def tokens_first(x: Tensor, angles: Tensor) -> Tensor:
    """Heads after tokens, as code without a fused attention has them."""
    return neighbours(x.transpose(1, 2), angles[:, None]).transpose(1, 2)


def by_heads(x: Tensor, angles: Tensor) -> Tensor:
    """As RoPE-ViT's mixed frequencies: each head has angles of its own, of heads by dimensions."""
    scales = torch.linspace(1, 2, x.shape[1])[:, None, None]
    return halves(x, scales * angles)


HALVES, NEIGHBOURS = [0, 1, 2, 3] * 2, [0, 0, 1, 1, 2, 2, 3, 3]
AXES = [0, 1, 0, 1, 2, 3, 2, 3]
TURNS: dict[str, tuple[Turn, list[int]]] = {
    "halves by slices": (halves_by_slices, HALVES),
    "halves one by one": (halves_one_by_one, HALVES),
    "neighbours one by one": (neighbours_one_by_one, NEIGHBOURS),
    "complex numbers": (complex_numbers, NEIGHBOURS),
    "halves of timm": (timm_halves, HALVES),
    "neighbours of timm": (timm_neighbours, NEIGHBOURS),
    "both axes": (both_axes, AXES),
    "tokens first": (tokens_first, NEIGHBOURS),
}
"""For each way to write it the pair that every dimension of a head is in."""


class Angles(nn.Module):
    """The angles of all positions: of a table (a buffer or plain numbers), or made of frequencies at every call."""

    def __init__(self, kept: str) -> None:
        super().__init__()
        frequencies = torch.logspace(0, -1, DIMS // 2)
        table = torch.arange(LONGEST)[:, None] * frequencies
        self.kept = kept
        if kept == "plain":
            self.table = table
        else:
            self.register_buffer("table", table if kept == "buffer" else frequencies, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.kept == "frequencies":
            return torch.arange(x.shape[1])[:, None] * self.table
        return self.table[: x.shape[1]]


class Turned(nn.Module):
    """Attention whose queries and keys turn; several queries may share a key."""

    def __init__(self, turn: Turn, keys: int) -> None:
        super().__init__()
        self.turn, self.keys = turn, keys
        self.q, self.k = nn.Linear(WIDTH, HEADS * DIMS), nn.Linear(WIDTH, keys * DIMS)
        self.v, self.proj = nn.Linear(WIDTH, keys * DIMS), nn.Linear(HEADS * DIMS, WIDTH)

    def forward(self, x: Tensor, angles: Tensor) -> Tensor:
        q, k, v = (layer(x).unflatten(-1, (-1, DIMS)).transpose(1, 2) for layer in (self.q, self.k, self.v))
        q, k = self.turn(q, angles), self.turn(k, angles)
        k, v = (part.repeat_interleave(HEADS // self.keys, 1) for part in (k, v))
        out: Tensor = self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return out


class Rotary(nn.Module):
    """Attentions beside one another that share the angles, `[B, N, width]` to `[B, N, 5]` each."""

    def __init__(self, turns: Sequence[Turn], kept: str = "buffer", keys: int = HEADS) -> None:
        super().__init__()
        self.angles = Angles(kept)
        self.first, self.last = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 5)
        self.blocks = nn.ModuleList(Turned(turn, keys) for turn in turns)

    def forward(self, x: Tensor) -> list[Tensor]:
        angles, x = self.angles(x), self.first(x)
        return [self.last(block(x, angles)) for block in self.blocks]


def some_gone(groups: Groups) -> Plan:
    """Another share of each group, of every block of it as many units, drawn at random."""
    kept = {}
    for number, group in enumerate(groups):
        width = group.units // group.blocks
        left = 1 + number % (width - 1)
        draws = [torch.randperm(width)[:left].sort().values + block * width for block in range(group.blocks)]
        kept[group.name] = torch.cat(draws).tolist()
    return plan_from_kept(groups, kept)


def check(model: nn.Module, groups: Groups) -> None:
    """What is left of a model, its blocks taken over, is the masked model for another batch and length."""
    groups = replace(groups, adapted=tuple(name for name, one in model.named_modules() if isinstance(one, Turned)))
    plan = some_gone(groups)
    small, reference = cut(model, groups, plan).eval(), masked(model, groups, plan, VerificationWeights()).eval()
    x = torch.randn(3, 9, WIDTH)
    with torch.no_grad():
        for number, (found, expected) in enumerate(zip(small(x), reference(x), strict=True)):
            torch.testing.assert_close(
                found, expected, rtol=1e-4, atol=1e-5, msg=lambda text, at=number: f"{at}: {text}"
            )


def made(turns: Sequence[Turn], kept: str = "buffer", keys: int = HEADS) -> tuple[nn.Module, Groups]:
    torch.manual_seed(0)
    model = Rotary(turns, kept, keys).eval()
    return model, find_groups(model, torch.zeros(1, 6, WIDTH), verify=False)


def pairs_of(groups: Groups, layer: str) -> list[list[int]]:
    """For each head the unit of every dimension in a layer, numbered in their order; whatever their group."""
    (*_, group) = [
        one for one in groups if one.kind == "qk_dim" and any(f"{layer}." in part.tensor for part in one.slices)
    ]
    units = next(part.units for part in group.slices if part.tensor == f"{layer}.weight")
    return [list(units[start : start + DIMS]) for start in range(0, len(units), DIMS)]


def test_the_dimensions_that_one_rotation_couples_go_in_queries_and_keys_of_all_heads() -> None:
    model, groups = made([turn for turn, _ in TURNS.values()])
    for number, (_, pairs) in enumerate(TURNS.values()):
        for layer in ("q", "k"):
            assert pairs_of(groups, f"blocks.{number}.{layer}") == [pairs] * HEADS, (number, layer)
    assert [group.units for group in groups if group.kind == "head"] == [HEADS] * len(TURNS)
    assert groups.fixed == () and unaccounted(groups) == ()
    check(model, groups)


@pytest.mark.parametrize(("kept", "keys"), [("frequencies", HEADS), ("buffer", 1), ("plain", 1)])
def test_angles_may_be_made_when_they_are_asked_for_and_queries_share_a_key(kept: str, keys: int) -> None:
    model, groups = made([halves, timm_neighbours], kept, keys)
    for number, pairs in enumerate((HALVES, NEIGHBOURS)):
        assert pairs_of(groups, f"blocks.{number}.q") == [pairs] * HEADS
        assert pairs_of(groups, f"blocks.{number}.k") == [pairs] * keys
    check(model, groups)


def test_angles_of_heads_by_dimensions_are_picked_from_too() -> None:
    model, groups = made([by_heads], "frequencies")
    assert pairs_of(groups, "blocks.0.q") == [HALVES] * HEADS
    assert [group.units for group in groups if group.kind == "head"] == [HEADS]
    check(model, groups)


def test_dimensions_that_do_not_turn_go_head_by_head() -> None:
    model, groups = made([a_part])
    found = {(group.kind, group.units, group.blocks, group.parent) for group in groups if group.kind != "mlp_hidden"}
    heads = "blocks.0.v.heads"
    assert found == {
        ("head", HEADS, 1, ""),
        ("qk_dim", DIMS // 4, 1, ""),
        ("qk_dim", HEADS * DIMS // 2, HEADS, heads),
        ("v_dim", HEADS * DIMS, HEADS, heads),
    }
    check(model, groups)


@pytest.mark.parametrize("name", ["eva02_tiny_patch14_224", "vit_small_patch16_rope_mixed_224"])
@pytest.mark.nightly
def test_a_table_that_blocks_of_timm_share_stays_whole_and_each_block_loses_pairs_of_its_own(name: str) -> None:
    torch.manual_seed(0)
    small_one = {"img_size": 16, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2, "num_classes": 3}
    model = timm.create_model(name, **small_one).eval()
    groups = find_groups(model, torch.zeros(1, 3, 16, 16))
    pairs = {group.name: group.units for group in groups if group.kind == "qk_dim"}
    assert pairs == {f"blocks.{block}.attn.qkv.qk": 4 for block in range(2)}
    assert groups.unverifiable == () and unaccounted(groups) == ()
    small = prune(model, plan_from_kept(groups, {"blocks.0.attn.qkv.qk": (0, 3), "blocks.1.attn.qkv.qk": (2,)}), groups)
    rows = [small.get_parameter(f"blocks.{block}.attn.qkv.weight").shape[0] for block in range(2)]
    assert rows == [2 * 2 * 4 + 16, 2 * 2 * 2 + 16]
