"""Scores of models that are no plain classifiers: several inputs, nested results, losses, and no labels."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.core.errors import ModelError, PlanError
from secateur.core.model_inputs import chosen
from secateur.pipeline.scores.registry import METHODS
from secateur.pipeline.scores.score import Scores, score
from secateur.pipeline.structure.find import find_groups
from tests.signatures import Matched, towers, towers_inputs

LABELS = torch.tensor([0, 3, 11, 3, 7, 2])


def of_image(result: Matched) -> Tensor:
    return result.image + result.text["text"]


def scored(batches: list[Any], method: str | None = "taylor", **options: Any) -> Scores:
    model = towers()
    return score(model, find_groups(model, towers_inputs(), verify=False), batches, method, **options)


METHODS_OF_WORDS = [name for name in METHODS.names() if name != "integrated_gradients"]


@pytest.mark.parametrize("method", METHODS_OF_WORDS)
def test_every_method_scores_a_model_of_several_inputs(method: str) -> None:
    inputs = towers_inputs(6)
    extra = {"epochs": 1} if method == "xmask" else {}
    found = scored([(inputs, LABELS)], method, output=of_image, **extra)
    assert all(found.by_unit(name).std() > 0 for name in ("conv.0.channels", "conv.3.channels", "hidden"))
    if method != "xmask":
        halves = [(chosen(inputs, part), LABELS[part]) for part in (slice(0, 2), slice(2, 6))]
        again = scored(halves, method, output=of_image)
        for name, value in found.values.items():
            torch.testing.assert_close(value, again.values[name], rtol=1e-3, atol=1e-6)


def test_a_loss_is_explained_by_its_gradient_times_the_values() -> None:
    model, inputs = towers(), towers_inputs(6)

    def loss(result: Matched, labels: Any) -> Tensor:
        return F.mse_loss(result.similarity, labels["wanted"])

    labels = {"wanted": torch.linspace(-1, 1, 6)}
    found = score(model, find_groups(model, inputs, verify=False), [(inputs, labels)], loss=loss)
    kept: list[Tensor] = []
    model.text.register_forward_pre_hook(lambda _module, args: kept.append(args[0].retain_grad() or args[0]))
    (6 * loss(model(**inputs), labels)).backward()
    assert kept[0].grad is not None
    expected = (kept[0] * kept[0].grad).abs().mean(0)
    torch.testing.assert_close(found.values["hidden"], expected.detach(), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("method", ["taylor", "lrp", "xmask"])
def test_without_labels_the_strongest_class_is_explained(method: str) -> None:
    inputs = towers_inputs(6)
    with torch.no_grad():
        strongest = of_image(towers()(**inputs)).argmax(1)
    extra = {"epochs": 1} if method == "xmask" else {}
    one, two = (scored([(inputs, labels)], method, output=of_image, **extra) for labels in (None, strongest))
    assert all(torch.equal(value, two.values[name]) for name, value in one.values.items())


def test_the_logits_of_a_result_are_found_without_help() -> None:
    class Answer(nn.Sequential):
        def forward(self, input: Tensor) -> Any:
            return {"logits": super().forward(input), "hidden": input}

    layers = [nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)]
    plain, answer, x = nn.Sequential(*layers), Answer(*layers), torch.randn(5, 4)
    batches = [(x, torch.tensor([0, 1, 2, 1, 0]))]
    one, two = (score(model, find_groups(model, x), batches).values for model in (plain, answer))
    assert one.keys() == two.keys() and all(torch.equal(value, two[name]) for name, value in one.items())


def test_words_alone_are_scored_though_no_gradient_reaches_them() -> None:
    class Text(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.up, self.down = nn.Embedding(9, 4), nn.Linear(4, 8), nn.Linear(8, 3)

        def forward(self, ids: Tensor) -> Tensor:
            return self.down(input=self.up(input=self.tokens(ids).mean(1)).relu_())

    torch.manual_seed(0)
    model, ids = Text(), torch.randint(0, 9, (6, 5))
    groups = find_groups(model, (ids,))
    for method in METHODS_OF_WORDS:
        found = score(model, groups, [((ids,), LABELS % 3)], method, **({"epochs": 1} if method == "xmask" else {}))
        assert found.by_unit("hidden").std() > 0, method


def test_what_cannot_be_explained_is_refused_in_a_sentence() -> None:
    batches = [(towers_inputs(6), LABELS)]
    with pytest.raises(ModelError, match=r"returns a Matched, but scores explain logits .* give output="):
        scored(batches)
    with pytest.raises(ModelError, match=r"output function gives torch.float32 \[6\]"):
        scored(batches, output=lambda result: result.similarity)
    with pytest.raises(PlanError, match="the lrp score looks at no loss: give output="):
        scored(batches, "lrp", loss=lambda result, labels: result.image.mean())
    with pytest.raises(PlanError, match="looks at no loss: give output="):
        scored(batches, "obs", loss=lambda result, labels: result.image.mean())
    with pytest.raises(PlanError, match="must give one number"):
        scored(batches, loss=lambda result, labels: result.image)
    with pytest.raises(PlanError, match="give one of them"):
        scored(batches, output=of_image, loss=lambda result, labels: result.image.mean())
    with pytest.raises(PlanError, match="between which there is no path: score by taylor"):
        scored(batches, "integrated_gradients", output=of_image)
    assert scored(batches, None, loss=lambda result, labels: of_image(result).square().mean()).method == "taylor"
    assert scored([(towers_inputs(6), None)], "activation").by_unit("hidden").std() > 0


def test_integrated_gradients_move_all_floating_point_inputs() -> None:
    class Product(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down = nn.Linear(4, 8), nn.Linear(8, 3)

        def forward(self, x: Tensor, *, table: Tensor, y: Tensor) -> Tensor:
            return self.down(self.up(x + y).relu() * table.mean())

    torch.manual_seed(0)
    model, whole = Product(), {"x": torch.randn(6, 4), "y": torch.randn(6, 4), "table": torch.ones(5)}
    moved = {**whole, "x": whole["x"] + whole["y"], "y": torch.zeros(6, 4)}
    groups = find_groups(model, whole)
    one, two = (
        score(model, groups, [(x, LABELS % 3)], "integrated_gradients").by_unit("hidden") for x in (whole, moved)
    )
    torch.testing.assert_close(one, two)


class TwoAnswers(nn.Module):
    """Two answers, each from hidden units of its own; with `off`, the first is made without gradients."""

    def __init__(self, off: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.off = off
        self.hidden, self.other = nn.Linear(6, 8), nn.Linear(6, 8)
        self.first, self.second = nn.Linear(8, 3), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.off):
            first = self.first(self.hidden(x).relu())
        return first, self.second(self.other(x).relu())


@pytest.mark.parametrize("method", ["taylor", "integrated_gradients", "lrp"])
def test_units_that_what_is_explained_does_not_use_score_zero(method: str) -> None:
    model, batches = TwoAnswers().eval(), [(torch.randn(5, 6), LABELS[:5] % 3)]
    groups = find_groups(model, torch.zeros(1, 6), verify=False)
    found = score(model, groups, batches, method, output=lambda answers: answers[0])
    used, unused = (found.by_unit(groups.groups[place].name) for place in (0, 1))
    assert used.abs().sum() > 0
    assert torch.equal(unused, torch.zeros(8))


@pytest.mark.parametrize("method", ["taylor", "integrated_gradients"])
def test_units_that_no_gradient_reaches_are_refused_in_a_sentence(method: str) -> None:
    model, batches = TwoAnswers(off=True).eval(), [(torch.randn(5, 6), LABELS[:5] % 3)]
    groups = find_groups(TwoAnswers().eval(), torch.zeros(1, 6), verify=False)
    with pytest.raises(PlanError, match=r"first is computed without gradients .*skip, or score by magnitude") as raised:
        score(model, groups, batches, method, output=sum)
    assert "\n" not in str(raised.value)
