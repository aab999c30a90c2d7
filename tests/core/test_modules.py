"""Models that run in evaluation mode and are left as they were."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from secateur.core.errors import ModelError
from secateur.core.modules import copied, device_of, evaluating, frozen, remembering, shared_copy


def mixed() -> nn.Sequential:
    """A model in training mode with one part in evaluation mode and one weight that asks for no gradient."""
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(), nn.Dropout()).train()
    model[1].eval()
    model[0].weight.requires_grad_(False)
    return model


def modes(model: nn.Module) -> list[bool]:
    return [part.training for part in model.modules()]


def asking(model: nn.Module) -> list[bool]:
    return [parameter.requires_grad for parameter in model.parameters()]


@pytest.mark.parametrize("context", [evaluating, frozen])
def test_all_comes_back_after_an_error(context: object) -> None:
    models = mixed(), mixed()
    with pytest.raises(KeyError), context(*models):  # type: ignore[operator]
        assert not any(modes(models[0]) + modes(models[1]))
        assert any(asking(models[0])) == (context is evaluating)
        raise KeyError("x")
    for model in models:
        assert modes(model) == [True, True, False, True]
        assert asking(model) == [False, True]
    assert torch.is_grad_enabled()


def test_a_part_that_is_switched_inside_comes_back() -> None:
    model = mixed()
    with frozen(model):
        model.train().requires_grad_(True)
    assert modes(model) == [True, True, False, True]
    assert asking(model) == [False, True]


def test_what_a_run_replaces_comes_back() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.runs, self.last, self.scale = 0, None, nn.Parameter(torch.ones(1))
            self.register_buffer("table", torch.zeros(1))

        def forward(self, x: Tensor) -> Tensor:
            self.runs, self.last, self.table, self.more = self.runs + 1, x, x + 1, "new"
            return x * self.scale

    model = nn.Sequential(Counting())
    table, scale = model[0].table, model[0].scale
    with pytest.raises(RuntimeError, match="stop"), remembering(model):
        model(torch.ones(2))
        assert (model[0].runs, model[0].more) == (1, "new")
        raise RuntimeError("stop")
    assert model[0].runs == 0 and model[0].last is None and not hasattr(model[0], "more")
    assert model[0].table is table and model[0].scale is scale
    model[0].register_buffer("table", scale.detach())
    assert model.state_dict().keys() == {"0.scale", "0.table"}


def test_the_device_of_a_model() -> None:
    assert device_of(nn.Identity()) == torch.device("cpu")
    assert device_of(nn.Linear(1, 1, device="meta")) == torch.device("meta")
    norm = nn.BatchNorm1d(1, affine=False, device="meta")
    assert not list(norm.parameters())
    assert device_of(norm) == torch.device("meta")


def test_tensors_are_shared_and_modules_are_not() -> None:
    tied = nn.Linear(3, 3)
    model = nn.Sequential(tied, nn.BatchNorm1d(3), tied).train()
    twin = shared_copy(model)
    own = dict(model.named_parameters()) | dict(model.named_buffers())
    assert all(tensor is own[name] for name, tensor in (*twin.named_parameters(), *twin.named_buffers()))
    assert twin[0] is twin[2]
    assert {id(module) for module in twin.modules()}.isdisjoint(id(module) for module in model.modules())
    assert model.training
    assert not twin.training
    assert torch.equal(twin(torch.ones(2, 3)), model.eval()(torch.ones(2, 3)))


class Watched(nn.Module):
    """A model that keeps what it computes for others to look at."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.seen: dict[str, list[Tensor]] = {}
        self.last: object = None

    def forward(self, x: Tensor) -> Tensor:
        self.last = self.layer(x)
        self.seen["all"] = [self.last.relu()]
        return self.last


@pytest.mark.parametrize("copy", [copied, shared_copy])
def test_activations_that_a_model_keeps_are_copied_without_their_past(copy: object) -> None:
    model = Watched()
    out = model(torch.ones(1, 2))
    twin = copy(model)  # type: ignore[operator]
    assert torch.equal(twin.last, out) and torch.equal(twin.seen["all"][0], out.relu())
    assert not twin.last.requires_grad and not twin.seen["all"][0].requires_grad
    assert model.last is out and model.seen["all"][0].requires_grad


def test_what_cannot_be_copied_is_named() -> None:
    model = nn.Sequential(Watched())
    model[0].last = (number for number in range(3))
    with pytest.raises(ModelError, match=r"the attribute 0\.last cannot be copied .*set it to None"):
        copied(model)
