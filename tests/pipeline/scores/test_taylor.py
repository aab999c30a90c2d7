"""Taylor scores, by autograd on a mask of the units."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.pipeline.scores.score import score
from secateur.pipeline.structure.groups import Groups


def test_taylor_is_the_first_order_change_of_the_loss(
    vit: nn.Module, vit_groups: Groups, batches: list[tuple[Tensor, Tensor]]
) -> None:
    """dL/dm at m = 1 of a mask on the unit, sample by sample, by autograd on the mask itself."""
    found = score(vit, vit_groups, batches, "taylor").values
    for name in ("blocks.0.mlp.hidden", "blocks.1.attn.heads", "blocks.1.attn.v"):
        group = vit_groups.named(name)
        (site,) = group.sites
        index, totals = torch.tensor(site.units), torch.zeros(group.units)
        for x, y in batches:
            for image, label in zip(x, y, strict=True):
                mask = torch.ones(group.units, requires_grad=True)
                handle = vit.get_submodule(site.module).register_forward_pre_hook(
                    lambda _m, args, mask=mask, index=index: (args[0] * mask[index],)
                )
                loss = F.cross_entropy(vit(image[None]), label[None])
                totals += torch.autograd.grad(loss, mask)[0].abs()
                handle.remove()
        torch.testing.assert_close(found[name], totals / 12, rtol=1e-3, atol=1e-6)
