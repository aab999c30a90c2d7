"""The drawing of a network: every kind of unit, layer by layer, with names that are never cut."""

from __future__ import annotations

import pytest

from secateur.pipeline.report.network import layer_of, network
from tests.pipeline.report.findings import row

GROUPS = [
    row("patch_embed.proj.width", "width", 48),
    row("blocks.0.attn.heads", "head", 4),
    row("blocks.0.attn.v", "v_dim", 40, blocks=4),
    row("blocks.0.mlp.hidden", "mlp_hidden", 80),
    row("blocks.1.mlp.hidden", "mlp_hidden", 60),
]
KEPT = {"blocks.0.mlp.hidden": tuple(range(20)), "blocks.0.attn.heads": (0, 3)}


def test_layers_hold_all_kinds_that_were_pruned() -> None:
    found = network(GROUPS, KEPT)
    assert [(layer.name, [bar.label for bar in layer.bars]) for layer in found.layers] == [
        ("blocks.0", ["attn.heads", "mlp.hidden"]),
        ("blocks.1", ["mlp.hidden"]),
    ]
    assert [f"{layer.name}.{bar.label}" == bar.name for layer in found.layers for bar in layer.bars] == [True] * 3
    assert [(total.kind, total.kept, total.units) for total in found.pruned] == [
        ("head", 2, 4),
        ("mlp_hidden", 80, 140),
    ]
    assert [(total.title, total.units) for total in found.whole] == [("value dimensions", 40), ("residual width", 48)]
    assert found.columns == 2


def test_a_bar_is_as_long_as_its_units_are_many_and_coloured_as_far_as_they_stayed() -> None:
    heads, hidden = network(GROUPS, KEPT).layers[0].bars
    (whole,) = network(GROUPS, KEPT).layers[1].bars
    assert (hidden.width, hidden.share, whole.width, whole.share) == (100, 25, 75, 100)
    assert heads.single == (True, False, False, True)  # few units are told apart, many are not
    assert hidden.single == ()
    assert "blocks.0.mlp.hidden: 20 of 80 MLP hidden units stayed" in hidden.said


def test_a_plan_that_removes_nothing_has_no_layers() -> None:
    found = network(GROUPS, {})
    assert (found.layers, found.pruned, found.columns) == ((), (), 1)
    assert len(found.whole) == 4


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("blocks.3.mlp.hidden", ("blocks.3", "mlp.hidden")),
        ("layers.1.blocks.0.conv1.channels", ("layers.1.blocks.0", "conv1.channels")),
        ("conv_stem.channels", ("conv_stem", "channels")),
        ("channels", ("channels", "channels")),
        ("blocks.0", ("blocks", "0")),
    ],
)
def test_a_name_is_cut_in_two_after_its_last_number(name: str, parts: tuple[str, str]) -> None:
    assert layer_of(name) == parts
