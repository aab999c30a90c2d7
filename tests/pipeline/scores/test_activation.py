"""Activation energy, from the values that the reader sees."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from secateur.pipeline.scores.score import score
from secateur.pipeline.structure.groups import Groups


def test_activation_is_the_variance_that_reaches_the_reader(
    vit: nn.Module, vit_groups: Groups, batches: list[tuple[Tensor, Tensor]]
) -> None:
    found = score(vit, vit_groups, batches, "activation").values
    seen: list[Tensor] = []
    fc2 = vit.get_submodule("blocks.0.mlp.fc2")
    handle = fc2.register_forward_pre_hook(lambda _m, args: seen.append(args[0].detach()))
    with torch.no_grad():
        for x, _ in batches:
            vit(x)
    handle.remove()
    values = torch.cat(seen).flatten(0, 1)
    expected = values.var(0, unbiased=False) * fc2.weight.detach().square().sum(0)
    torch.testing.assert_close(found["blocks.0.mlp.hidden"], expected, rtol=1e-4, atol=1e-8)


def test_units_that_a_product_reads_score_their_own_variance(
    vit: nn.Module, vit_groups: Groups, batches: list[tuple[Tensor, Tensor]]
) -> None:
    found = score(vit, vit_groups, batches, "activation").values["blocks.0.attn.qk"]
    seen: list[Tensor] = []
    handle = vit.get_submodule("blocks.0.attn.qkv").register_forward_hook(lambda _m, _a, out: seen.append(out))
    with torch.no_grad():
        for x, _ in batches:
            vit(x)
    handle.remove()
    variance = torch.cat(seen).flatten(0, 1).var(0, unbiased=False)
    torch.testing.assert_close(found, variance[:48] + variance[48:96], rtol=1e-4, atol=1e-8)
