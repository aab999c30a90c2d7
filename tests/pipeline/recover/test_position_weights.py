"""The weights of positions: against the answer's Jacobian from its definition, and where there is nothing to feel."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.functional import jacobian

from secateur.pipeline.recover import position_weights as subject
from secateur.pipeline.recover.position_weights import of_length, position_weights
from secateur.pipeline.structure.groups import Site
from tests.conftest import make_vit

MIDDLE, END = Site("blocks.0", "output", -1, ()), Site("blocks.1", "output", -1, ())


@pytest.fixture(scope="module")
def batches() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(3)
    return [(torch.randn(n, 3, 16, 16, generator=generator), torch.zeros(n, dtype=torch.long)) for n in (5, 3)]


def test_they_are_the_root_mean_square_of_the_answers_jacobian(batches: list[tuple[Tensor, Tensor]]) -> None:
    """With one answer only, whose sign does not matter, the estimate is exact."""
    vit = make_vit(num_classes=1)
    images = torch.cat([x for x, _ in batches])
    stream = vit.blocks[0](vit._pos_embed(vit.patch_embed(images))).detach()
    whole = jacobian(lambda x: vit.forward_head(vit.norm(vit.blocks[1](x))).sum(0), stream)[0]
    root = whole.double().square().sum(-1).mean(0).sqrt()
    found = position_weights(vit, [MIDDLE], batches)[MIDDLE.key]
    torch.testing.assert_close(found, root / root.mean(), rtol=1e-4, atol=1e-6)


def test_behind_the_last_attention_the_class_token_counts_alone(batches: list[tuple[Tensor, Tensor]]) -> None:
    found = position_weights(make_vit(), [MIDDLE, END], batches)
    assert found[END.key][0] == pytest.approx(len(found[END.key])) and not found[END.key][1:].any()
    assert (found[MIDDLE.key] > 0).all()
    pooled = position_weights(make_vit(global_pool="avg", class_token=False, fc_norm=False), [END], batches)[END.key]
    assert (pooled > 0).all() and float(pooled.mean()) == pytest.approx(1)


def test_no_more_images_than_needed_are_looked_at(
    batches: list[tuple[Tensor, Tensor]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subject, "IMAGES", 4)
    vit = make_vit()
    few = position_weights(vit, [MIDDLE], [batches[0], (torch.full((3, 3, 16, 16), torch.nan), batches[1][1])])
    torch.testing.assert_close(few[MIDDLE.key], position_weights(vit, [MIDDLE], batches[:1])[MIDDLE.key])


class Apart(nn.Module):
    """A model whose answer does not hang on one of its layers."""

    def __init__(self) -> None:
        super().__init__()
        self.seen, self.unseen = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        self.unseen(x)
        return self.seen(x).mean(1)


def test_positions_count_alike_where_the_answer_feels_nothing_or_their_number_changes() -> None:
    model, sites = Apart(), [Site(name, "output", -1, ()) for name in ("seen", "unseen")]
    none = torch.zeros(2, dtype=torch.long)
    found = position_weights(model, sites, [(torch.randn(2, 3, 4), none)])
    assert found["unseen", "output"].tolist() == [1, 1, 1]
    uneven = position_weights(model, sites, [(torch.randn(2, n, 4), none) for n in (3, 5)])
    assert uneven["seen", "output"].tolist() == [1] * 5
    rows = torch.zeros(2, 3, 4)
    assert torch.equal(of_length(uneven["seen", "output"], rows), torch.ones(2, 3))
    assert of_length(torch.tensor([3.0, 0, 0]), rows).tolist() == [[3, 0, 0]] * 2
