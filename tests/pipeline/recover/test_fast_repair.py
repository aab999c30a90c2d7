"""Fast repair: the models that compensation makes, without another look at the images."""

from __future__ import annotations

import pytest
import torch
from timm.layers.std_conv import StdConv2d
from torch import Tensor, nn

from secateur.core.errors import DataError
from secateur.pipeline.recover.compensate import compensate
from secateur.pipeline.recover.fast_repair import RIDGE, FastRepair
from secateur.pipeline.recover.spec import Compensation
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Groups, Kept
from secateur.pipeline.structure.plan import plan_from_kept
from secateur.pipeline.structure.surgery import prune


@pytest.mark.parametrize(
    "kept",
    [
        {"blocks.1.attn.v": range(0, 48, 2)},
        {"blocks.1.attn.qk": range(0, 48, 2), "blocks.0.mlp.hidden": range(100)},
        {"blocks.0.attn.heads": [0, 2], "blocks.1.attn.heads": [1]},
        {"patch_embed.proj.width": range(0, 48, 2), "blocks.1.mlp.hidden": range(96)},
    ],
)
def test_an_heir_is_what_compensation_makes(
    kept: Kept, vit: nn.Module, vit_groups: Groups, batches: list[tuple[Tensor, Tensor]]
) -> None:
    kinds = ("v_dim", "qk_dim", "head", "mlp_hidden", "width")
    plan = plan_from_kept(vit_groups, kept)
    expected = compensate(prune(vit, plan, vit_groups), vit, plan, batches, Compensation(RIDGE, False), vit_groups)
    found = FastRepair(vit, vit_groups, kinds, batches)(kept)
    x = batches[0][0]
    with torch.no_grad():
        torch.testing.assert_close(found(x), expected(x))


def test_images_are_read_once_for_many_candidates(
    vit: nn.Module, vit_groups: Groups, batches: list[tuple[Tensor, Tensor]]
) -> None:
    read = 0

    class Counted(list[tuple[Tensor, Tensor]]):
        def __iter__(self):  # type: ignore[no-untyped-def]  # a list's own
            nonlocal read
            for batch in super().__iter__():
                read += 1
                yield batch

    repair = FastRepair(vit, vit_groups, ("mlp_hidden",), Counted(batches))
    for count in (50, 100, 150):
        repair({"blocks.0.mlp.hidden": range(count)})
    assert read == len(batches)
    with pytest.raises(DataError, match="images cannot give 2 sets"):
        FastRepair(vit, vit_groups, ("mlp_hidden",), [])


def test_weights_that_a_convolution_computes_are_the_ones_repaired() -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 16, 3), nn.ReLU(), StdConv2d(16, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    model = nn.Sequential(*layers, nn.Linear(8, 4)).eval()
    with torch.no_grad():
        for tensor in model[0].parameters():
            tensor[8:] = tensor[:8]
    x = torch.randn(16, 3, 10, 10)
    groups = find_groups(model, x[:1])
    name = next(group.name for group in groups if group.units == 16)
    small = FastRepair(model, groups, ("channel",), [(x, torch.zeros(16, dtype=torch.long))])({name: range(8)})
    with torch.no_grad():
        gap = (small(x) - model(x)).abs().max()
        assert gap < 0.02 * model(x).std()
