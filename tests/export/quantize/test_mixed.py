"""The search for mixed precision, beside one that tries everything, with a judge that is known beforehand."""

from __future__ import annotations

from pathlib import Path

import pytest

from secateur.core.errors import ExportError
from secateur.export.graph_types import declared_precisions, read_graph
from secateur.export.quantize.limit import Drop, Limit, Limited
from secateur.export.quantize.quantize import Quantized, quantize_onnx
from secateur.export.quantize.spec import Quantization
from tests.export.conftest import Batches, needs_ort

pytestmark = needs_ort
PLAIN = Quantization(rule="minmax", correct=False, balance=0)


def narrow(path: Path) -> set[str]:
    """The products of a graph in int8."""
    return {name for name, word in declared_precisions(read_graph(path)).items() if word == "int8"}


class Known:
    """A judge for whom each product in int8 costs what the table says; it stops after so many measurements."""

    identity, metric, unit = "known", "top-1 accuracy", "%"

    def __init__(self, costs: dict[str, float], error: float = 0.01, stops: int = 1000) -> None:
        self.costs, self.error, self.left = costs, error, stops
        self.divergences = self.drops = 0

    def _sum(self, path: Path) -> float:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return sum(self.costs[name] for name in narrow(path))

    def divergence(self, path: Path) -> float:
        self.divergences += 1
        return self._sum(path)

    def drop(self, path: Path) -> Drop:
        self.drops += 1
        return Drop(self._sum(path), self.error, 1000)


@pytest.fixture(scope="module")
def costs(int8: tuple[object, Quantized]) -> dict[str, float]:
    """What each of the twelve products costs: 1 to 12 points, in no order."""
    names = sorted(narrow(int8[0].path))  # type: ignore[attr-defined]
    return {name: float(1 + 5 * place % 12) for place, name in enumerate(names)}


def limited(fp32: Path, images: Batches, path: Path, judge: Known, most: float, trials: Path | None = None) -> Limited:
    found = quantize_onnx(fp32, path, images, options=PLAIN, limit=Limit(most, judge, trials))[1]
    assert found.limited is not None
    assert found.products == len(narrow(path))
    return found.limited


@pytest.mark.parametrize("most", [80.0, 40.5, 13.0])
def test_the_least_is_returned_that_keeps_the_limit(
    fp32: Path, images: Batches, costs: dict[str, float], tmp_path: Path, most: float
) -> None:
    judge = Known(costs)
    found = limited(fp32, images, tmp_path / "mixed.onnx", judge, most)
    macs = {layer.node: layer.macs for layer in found.layers}
    ranking = sorted(costs, key=lambda name: costs[name] / macs[name], reverse=True)
    count = next(k for k in range(13) if sum(costs[name] for name in ranking[k:]) <= most)
    assert narrow(tmp_path / "mixed.onnx") == set(ranking[count:])
    assert (judge.divergences, judge.drops) == (12, len(found.trials))
    assert judge.drops <= 1 + 4
    assert found.drop.value == sum(costs[name] for name in ranking[count:])
    words = {layer.node: layer.precision for layer in found.layers}
    assert {name for name, word in words.items() if word == "int8"} == set(ranking[count:])
    assert words.keys() - costs.keys() == {layer.node for layer in found.layers if layer.divergence is None}
    assert all(layer.reason for layer in found.layers)
    dense = 1024 * sum(macs.values())
    spent = sum(macs[name] * (64 if word == "int8" else 256) for name, word in words.items())
    assert found.bit_ops == pytest.approx(spent / dense)
    assert 1 > found.bit_ops >= found.least_bit_ops > 1 / 16
    start = "nothing is returned" if count == 0 else f"{count} of 12 products are returned to fp16"
    assert found.said.startswith(start) and "cannot tell" not in found.said


def test_a_search_that_was_stopped_goes_on(
    fp32: Path, images: Batches, costs: dict[str, float], tmp_path: Path
) -> None:
    trials = tmp_path / "trials.json"
    whole = limited(fp32, images, tmp_path / "whole.onnx", Known(costs), 13.0)
    with pytest.raises(KeyboardInterrupt):
        limited(fp32, images, tmp_path / "parts.onnx", Known(costs, stops=13), 13.0, trials)
    assert not (tmp_path / "parts.onnx").exists()
    judge = Known(costs)
    assert limited(fp32, images, tmp_path / "parts.onnx", judge, 13.0, trials) == whole
    assert (judge.divergences, judge.drops) == (0, len(whole.trials) - 1)
    assert (tmp_path / "parts.onnx").read_bytes() == (tmp_path / "whole.onnx").read_bytes()


def test_a_limit_that_images_cannot_tell_is_said_to_be_one(
    fp32: Path, images: Batches, costs: dict[str, float], tmp_path: Path
) -> None:
    found = limited(fp32, images, tmp_path / "mixed.onnx", Known(dict.fromkeys(costs, 0.0), error=0.5), 0.49)
    assert "1000 images cannot tell a drop of 0.49 points from none (standard error 0.5); about 4000" in found.said


def test_a_limit_that_no_graph_keeps_leaves_nothing_behind(
    fp32: Path, images: Batches, costs: dict[str, float], tmp_path: Path
) -> None:
    with pytest.raises(
        ExportError, match=r"no graph with a product in int8 keeps the limit of 0\.5 points: with 11 of"
    ):
        limited(fp32, images, tmp_path / "mixed.onnx", Known(costs), 0.5)
    assert not list(tmp_path.iterdir())
