"""Groups, axes and costs: against brute force and torch's own counter."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from secateur.core.errors import ModelError, PlanError
from secateur.pipeline.structure.describe import describe
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Axis, Group, Groups, Slice
from tests.conftest import make_vit
from tests.counting import torch_macs


def test_an_axis_keeps_a_position_only_when_all_its_groups_do() -> None:
    axis = Axis(4, (("a", (0, 0, 1, -1)), ("b", (0, 1, 2, 3))))
    assert axis.positions({}).tolist() == [True] * 4
    assert axis.positions({"a": [0]}).tolist() == [True, True, False, True]
    assert axis.positions({"a": [0], "b": [1, 2]}).tolist() == [False, True, False, False]
    assert axis.length({"a": []}) == 1


def test_the_dense_cost_is_torchs_own_count(vit: nn.Module, vit_groups: Groups) -> None:
    assert vit_groups.macs() == torch_macs(vit, torch.zeros(1, 3, 16, 16))
    assert vit_groups.params() == sum(p.numel() for p in vit.parameters())


def test_the_fingerprint_heeds_the_architecture_and_not_the_weights() -> None:
    x = torch.zeros(1, 3, 16, 16)
    prints = [find_groups(make_vit(seed), x).fingerprint() for seed in (0, 1)]
    assert prints[0] == prints[1] != find_groups(make_vit(num_heads=6), x).fingerprint()


def test_two_groups_of_one_name_are_refused() -> None:
    group = Group("a", "channel", 1, (Slice("w", 0, "out", (0,)),))
    with pytest.raises(ValueError, match="two groups"):
        Groups((group, group), (), (), {"w": (1,)}, frozenset(), (3,))


def test_an_unknown_group_is_named_with_near_matches(vit_groups: Groups) -> None:
    with pytest.raises(PlanError, match=r"did you mean 'blocks\.0\.attn\.heads'"):
        vit_groups.named("blocks.0.attn.head")


def test_a_model_without_groups_is_refused() -> None:
    with pytest.raises(ModelError, match="nothing can be removed"):
        find_groups(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), torch.zeros(1, 4))


def test_what_is_fixed_says_why() -> None:
    groups = find_groups(make_vit(scale_attn_norm=True), torch.zeros(1, 3, 16, 16))
    kinds = (("heads", "head"), ("v", "v_dim"))
    assert [(f.name, f.kind) for f in groups.fixed] == [
        (f"blocks.{i}.attn.{n}", kind) for i in (0, 1) for n, kind in kinds
    ]
    assert "a normalisation over all heads' values" in groups.fixed[0].reason


def test_the_description_shares_out_the_macs(vit_groups: Groups) -> None:
    found = describe(vit_groups)
    assert found.macs == vit_groups.macs()
    hidden = next(row for row in found.groups if row.name == "blocks.0.mlp.hidden")
    assert hidden.macs_share == pytest.approx(17 * 2 * 48 * 192 / vit_groups.macs())
    assert hidden.params == 2 * 48 * 192 + 192


def test_groups_are_shown_in_a_line_and_in_a_notebook_as_a_table() -> None:
    groups = find_groups(make_vit(scale_attn_norm=True), torch.zeros(1, 3, 16, 16), verify=False)
    shown = repr(groups)
    assert shown.startswith("Groups(") and len(shown) < 200
    assert f"{groups.params():,} parameters; {len(groups.fixed)} fixed" in shown
    assert f"{sum(group.kind == 'qk_dim' for group in groups)} qk_dim" in shown
    table = groups._repr_html_()
    assert all(f'<td style="text-align: left">{one.name}</td>' in table for one in (*groups, *groups.fixed))
    assert table.count("<tr>") == 1 + len(groups) + len(groups.fixed)
