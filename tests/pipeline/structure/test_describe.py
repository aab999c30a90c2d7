"""The table of a model's groups: its shares, and its file."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from secateur.core.errors import RunError
from secateur.pipeline.structure.describe import GroupTable, describe
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Groups, Unverifiable
from secateur.pipeline.structure.steps import step_size
from tests.conftest import make_vit


def test_every_group_has_its_share_of_the_macs_and_parameters(vit_groups: Groups) -> None:
    table = describe(vit_groups, 4)
    assert (table.macs, table.params, table.align) == (vit_groups.macs(), vit_groups.params(), 4)
    assert [row.name for row in table.groups] == [group.name for group in vit_groups]
    for row, group in zip(table.groups, vit_groups, strict=True):
        left = {group.name: ()}
        assert row.macs_share == pytest.approx(1 - vit_groups.macs(left) / table.macs)
        assert row.params == table.params - vit_groups.params(left)
        assert row.step == step_size(group, 4)


def test_the_parts_of_a_layer_are_counted_by_hand(vit_groups: Groups) -> None:
    """Three heads of 16 in a stream of 48 over 17 tokens: qkv with its bias, proj without, and two products."""
    rows = {row.name: row for row in describe(vit_groups, 8).groups}
    heads = rows["blocks.0.attn.heads"]
    assert heads.params == (48 + 1) * 3 * 48 + 48 * 48
    assert heads.macs_share == pytest.approx((17 * 48 * 4 * 48 + 2 * 17 * 17 * 48) / vit_groups.macs())
    assert (heads.units, heads.blocks, heads.parent, heads.step) == (3, 1, "", 1)
    values = rows["blocks.0.attn.v"]
    assert (values.units, values.blocks, values.parent, values.step) == (48, 3, "blocks.0.attn.heads", 8)


def test_groups_that_are_not_verifiable_are_in_the_table(vit_groups: Groups, tmp_path: Path) -> None:
    hidden = Unverifiable("blocks.0.mlp.hidden", "nothing moves")
    table = describe(replace(vit_groups, unverifiable=(hidden,)))
    table.save(tmp_path / "groups.json")
    assert GroupTable.load(tmp_path / "groups.json").unverifiable == (hidden,)


def test_it_is_read_as_it_was_written_with_the_keys_of_its_schema(tmp_path: Path) -> None:
    table = describe(find_groups(make_vit(scale_attn_norm=True), torch.zeros(1, 3, 16, 16)))
    assert table.fixed
    table.save(tmp_path / "groups.json")
    assert GroupTable.load(tmp_path / "groups.json") == table
    content = json.loads((tmp_path / "groups.json").read_text())
    assert content.pop("schema") == "secateur.groups/1"
    assert content == json.loads(json.dumps(asdict(table)))
    del content["groups"][0]["units"]
    (tmp_path / "groups.json").write_text(json.dumps({"schema": "secateur.groups/1", **content}))
    with pytest.raises(RunError, match=r"groups\.0\.units"):
        GroupTable.load(tmp_path / "groups.json")
