"""The table of a model's groups: its shares, and its file."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from secateur.core.errors import RunError
from secateur.pipeline.structure.describe import GroupTable, describe
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Groups
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


def test_it_is_read_as_it_was_written_with_the_keys_of_its_schema(tmp_path: Path) -> None:
    table = describe(find_groups(make_vit(qk_norm=True), torch.zeros(1, 3, 16, 16)))
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
