"""What graphs lose, beside references from the definitions."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from secateur.core.errors import DataError, ExportError
from secateur.export.to_onnx import export_onnx
from secateur.pipeline.analysis.graph_judge import GraphJudge
from secateur.pipeline.tasks.classify import Classify
from secateur.pipeline.tasks.regress import Regress

pytest.importorskip("onnxruntime")


class Pair(nn.Module):
    """A linear layer whose answer lies in a mapping, beside another tensor."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3, bias=False)
        self.layer.weight.data = weight

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"first": self.layer(x), "second": x.mean(1)}


@pytest.fixture(scope="module")
def weights() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    weight = torch.randn(3, 4)
    return weight, weight + 0.3 * torch.randn(3, 4)


@pytest.fixture(scope="module")
def batches() -> list[tuple[Tensor, Tensor]]:
    torch.manual_seed(1)
    return [(torch.randn(10, 4), torch.randint(3, (10,))) for _ in range(6)]


def exported(model: nn.Module, path: Path) -> Path:
    return export_onnx(model.eval(), path, input_shape=(4,)).path


def test_the_drop_of_top1_and_its_error(
    weights: tuple[Tensor, Tensor], batches: list[tuple[Tensor, Tensor]], tmp_path: Path
) -> None:
    models = []
    for weight in weights:
        models.append(nn.Linear(4, 3, bias=False))
        models[-1].weight.data = weight
    dense, other = (exported(model, tmp_path / f"{place}.onnx") for place, model in enumerate(models))
    judge = GraphJudge(models[0], dense, batches, batches[:2], Classify())
    right = [[(model(x).argmax(1) == y).double() for x, y in batches] for model in models]
    lost = torch.stack([(a - b).sum() for a, b in zip(*right, strict=True)])
    parts = [100 * float(lost.sum() - lost[place]) / 50 for place in range(6)]
    found = judge.drop(other)
    assert (judge.metric, judge.unit, found.images) == ("top-1 accuracy", "%", 60)
    assert found.value == pytest.approx(100 * float(lost.sum()) / 60) != 0
    assert found.error == pytest.approx(math.sqrt(5 / 6 * sum((part - np.mean(parts)) ** 2 for part in parts)))
    assert judge.drop(dense).value == judge.divergence(dense) == 0
    assert judge.drop(dense).error == pytest.approx(100 / 60)  # one image, where none has changed
    one, goal = (torch.cat([model(x).log_softmax(1) for x, _ in batches[:2]]).detach() for model in models)
    assert judge.divergence(other) == pytest.approx(float((one.exp() * (one - goal)).sum(1).mean()), rel=1e-4)
    assert judge.identity != GraphJudge(models[0], dense, batches, batches[:2], Regress()).identity
    assert judge.identity != GraphJudge(models[0], other, batches, batches[:2], Classify()).identity


def test_answers_in_the_form_of_the_model(
    weights: tuple[Tensor, Tensor], batches: list[tuple[Tensor, Tensor]], tmp_path: Path
) -> None:
    class Own(Classify):
        def meter(self, classes: object) -> object:  # type: ignore[override]
            meter = super().meter([])
            add = meter.add
            meter.add = lambda outputs, labels: add(outputs["first"], labels)  # type: ignore[method-assign,index]
            assert classes == ["a"]
            return meter

    models = [Pair(weight) for weight in weights]
    dense, other = (exported(model, tmp_path / f"{place}.onnx") for place, model in enumerate(models))
    drop = GraphJudge(models[0], dense, batches, batches, Own(), ["a"]).drop(other)
    right = [sum(int((model(x)["first"].argmax(1) == y).sum()) for x, y in batches) for model in models]
    assert drop.value == pytest.approx(100 * (right[0] - right[1]) / 60)


def test_one_batch_has_no_error(
    weights: tuple[Tensor, Tensor], batches: list[tuple[Tensor, Tensor]], tmp_path: Path
) -> None:
    model = nn.Linear(4, 3)
    path = exported(model, tmp_path / "model.onnx")
    with pytest.raises(DataError, match="the images that tell the drop are 1 batch, but 2 are needed"):
        GraphJudge(model, path, batches[:1], batches, Classify()).drop(path)


def test_an_answer_in_an_unknown_form_is_refused(batches: list[tuple[Tensor, Tensor]], tmp_path: Path) -> None:
    from dataclasses import dataclass

    @dataclass
    class Answer:
        logits: Tensor

    model = nn.Linear(4, 3)
    path = exported(model, tmp_path / "model.onnx")
    wrapped = nn.Sequential(model)
    wrapped.register_forward_hook(lambda _module, _inputs, out: Answer(out))
    with pytest.raises(ExportError, match="the model returns a Answer, of which no limit on the loss can be measured"):
        GraphJudge(wrapped, path, batches, batches, Classify()).drop(path)
