"""Relevance of whole models, batch by batch: what is explained, and that a model is left as it was."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from secateur.core.errors import ModelError, PlanError
from secateur.pipeline.scores.lrp.composite import find_composite
from secateur.pipeline.scores.lrp.relevance import IMAGES, record, relevances
from secateur.pipeline.scores.score import score
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Site
from tests.pipeline.scores.lrp.test_propagation import Cnn, explained


@pytest.fixture
def x() -> Tensor:
    return torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def test_it_starts_at_the_label_or_at_the_prediction(x: Tensor) -> None:
    torch.manual_seed(0)
    model = Cnn(bias=False).eval()
    labels, epsilon = torch.tensor([4, 0, 2]), find_composite("epsilon")
    (found,) = relevances(model, [(x, labels)], (IMAGES,), epsilon)
    with torch.no_grad():
        logits = model(x)
    torch.testing.assert_close(found.logits, logits)
    assert torch.equal(found.classes, labels)
    torch.testing.assert_close(found.images.flatten(1).sum(1), logits[range(3), labels], rtol=1e-3, atol=1e-5)
    (predicted,) = relevances(model, [(x, labels)], (IMAGES,), epsilon, "predicted")
    assert torch.equal(predicted.classes, logits.argmax(1))


def test_batches_come_one_by_one_and_do_not_change_each_other(x: Tensor) -> None:
    torch.manual_seed(0)
    model, site = Cnn(bias=True).eval(), Site("conv2", "input", 1, tuple(range(8)))
    labels, gamma = torch.tensor([4, 0, 2]), find_composite("gamma")
    (whole,) = relevances(model, [(x, labels)], (site,), gamma)
    parts = list(relevances(model, [(x[:2], labels[:2]), (x[2:], labels[2:])], (site,), gamma))
    together = torch.cat([part.at["conv2", "input"] for part in parts])
    torch.testing.assert_close(together, whole.at["conv2", "input"], rtol=1e-3, atol=1e-6)
    assert not x.requires_grad


def test_a_site_that_the_logit_does_not_depend_on_has_none(x: Tensor) -> None:
    class Unused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.Linear(3, 2), nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            self.unused(x.mean((2, 3)))
            return self.used(x.mean((2, 3)))

    (found,) = relevances(
        Unused().eval(),
        [(x, torch.zeros(3).long())],
        (Site("unused", "output", -1, (0, 1)),),
        find_composite("epsilon"),
    )
    assert not found.at["unused", "output"].any()


def test_a_layout_needs_a_layer_and_logits(x: Tensor) -> None:
    assert len(record(Cnn(bias=True).eval(), x)[0].calls) == 3
    with pytest.raises(ModelError, match="no convolution and no linear layer"):
        record(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), x)


def test_nothing_is_left_behind_when_it_fails_in_between(x: Tensor) -> None:
    class Breaks(Cnn):
        broken = False

        def forward(self, x: Tensor) -> Tensor:
            if self.broken:
                raise KeyError("in between")
            self.broken = x.requires_grad
            return super().forward(x)

    model = Breaks(bias=True).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    batches = [(x, torch.zeros(3, dtype=torch.long))] * 2
    with pytest.raises(KeyError, match="in between"):
        list(relevances(model, batches, [Site("conv1", "output", 1, tuple(range(8)))], find_composite("gamma")))
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    weight = torch.ones(1, requires_grad=True)
    F.gelu(weight).backward()  # the plain gradient is back
    assert weight.grad is not None and weight.grad.item() == pytest.approx(1.0833, abs=1e-3)


def test_models_that_the_rules_cannot_follow_are_refused(x: Tensor) -> None:
    class Aliased(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            y = x.mean((2, 3))
            y.mul_(3.0)  # in place, and the returned tensor is thrown away
            return self.fc(y)

    with pytest.raises(ModelError, match="in place"):
        explained(Aliased().eval(), x, "epsilon")
    with pytest.raises(ModelError, match="logits"):
        explained(nn.Conv2d(3, 2, 1).eval(), x, "epsilon")
    with pytest.raises(PlanError, match="label, predicted"):
        explained(Cnn(bias=True).eval(), x, "epsilon", target="best")


class Gated(nn.Module):
    """A function between two layers, which may run under gradient checkpointing."""

    def __init__(self, function: Callable[[Tensor], Tensor], checkpointed: bool | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.one, self.two, self.three = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1), nn.Linear(8, 4)
        self.function, self.reentrant = function, checkpointed

    def forward(self, x: Tensor) -> Tensor:
        x = self.two(self.one(x).relu())
        if self.reentrant is None:
            x = self.function(x)
        else:
            x = checkpoint(self.function, x, use_reentrant=self.reentrant)
        out: Tensor = self.three(x.mean((2, 3)))
        return out


LOST: dict[str, Callable[[Tensor], Tensor]] = {
    "square": torch.square,
    "pow": lambda x: x**2,
    "exp": torch.exp,
    "exp_": lambda x: x.clone().exp_(),
    "cos": torch.cos,
    "sqrt": lambda x: (x.relu() + 1).sqrt(),
    "log_softmax": lambda x: F.log_softmax(x, 1),
    "instance_norm": F.instance_norm,
}
KEPT: dict[str, Callable[[Tensor], Tensor]] = {
    "views": lambda x: torch.cat(x.chunk(2, 1)[::-1], 1).transpose(2, 3).roll(1, 2),
    "constants": lambda x: F.pad(x + 1, (1, 1)) - 2,
    "maxima": lambda x: torch.maximum(F.max_pool2d(x, 2), -F.max_pool2d(x.abs(), 2)),
    "sizes": lambda x: x * x.norm(dim=1, keepdim=True) / x.square().sum((1, 2, 3), keepdim=True).sqrt(),
    "a constant standard deviation": lambda x: x * x.var(1, keepdim=True).add(1e-5).rsqrt(),
    "writes": lambda x: x.clone().index_fill_(1, torch.tensor([0]), 0.0),
}


@pytest.mark.parametrize("name", LOST)
def test_functions_that_do_not_conserve_relevance_are_named(name: str, x: Tensor) -> None:
    model = Gated(LOST[name]).eval()
    with pytest.raises(ModelError, match=rf"no rule for what the model computes by {name} \(\d+%\)"):
        list(relevances(model, [(x, torch.arange(3))], (IMAGES,), find_composite("epsilon")))
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("name", KEPT)
def test_functions_that_conserve_it_need_no_rule(name: str, x: Tensor) -> None:
    (found,) = relevances(Gated(KEPT[name]).eval(), [(x, torch.arange(3))], (IMAGES,), find_composite("epsilon"))
    assert found.images.abs().sum() > 0


def test_a_function_whose_gradient_is_not_used_may_do_what_it_likes(x: Tensor) -> None:
    list(
        relevances(
            Gated(lambda x: x * x.exp().detach()).eval(), [(x, torch.arange(3))], (IMAGES,), find_composite("epsilon")
        )
    )


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("method", ["lrp", "taylor", "integrated_gradients"])
def test_scores_under_gradient_checkpointing_are_right_or_refused(reentrant: bool, method: str, x: Tensor) -> None:
    function: Callable[[Tensor], Tensor] = lambda x: F.gelu(x) * x  # noqa: E731  (two models share it)
    plain, model = Gated(function).eval(), Gated(function, reentrant).eval()
    groups, batches = find_groups(plain, x), [(x, torch.arange(3))]
    if method == "lrp" or reentrant:
        with pytest.raises(ModelError, match=r"gradient checkpointing.*switch (it|that) off"):
            score(model, groups, batches, method=method)
        return
    expected, found = (score(one, groups, batches, method=method).values for one in (plain, model))
    assert all(torch.equal(found[name], value) for name, value in expected.items())


@pytest.mark.parametrize("method", ["lrp", "taylor"])
def test_the_checkpointing_of_timm_is_off_while_scoring(method: str) -> None:
    torch.manual_seed(0)
    model = timm.create_model("test_vit", depth=2, img_size=32, num_classes=4).eval()
    x = torch.randn(2, 3, 32, 32)
    groups, batches = find_groups(model, x, verify=False), [(x, torch.arange(2))]
    expected = score(model, groups, batches, method=method)
    model.set_grad_checkpointing(True)
    found = score(model, groups, batches, method=method)
    assert model.grad_checkpointing is True
    assert all(torch.equal(found.values[name], value) for name, value in expected.values.items())
