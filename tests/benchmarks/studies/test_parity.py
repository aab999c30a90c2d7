"""The measured differences: the worst of a model and its graph, and tolerances that leave room above them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from secateur_studies.parity import HEAD, compared, table_of, worst_by_precision
from torch import nn

from secateur.core.files import read_json
from secateur.export.parity import Difference
from secateur.export.precision import COSINES, PRECISIONS, TOLERANCES

ROWS = read_json(Path(__file__).parents[3] / "benchmarks" / "results" / "parity.json", "parity")["rows"]


def test_of_each_graph_the_worst_output_of_all_batches_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    written: dict[Path, str] = {}

    def export(model: nn.Module, path: Path, *, precision: str, **options: object) -> None:
        written[path] = precision

    def found(model: nn.Module, path: Path) -> list[Difference]:
        far = {"fp32": 1e-6, "fp16": 1e-3, "bf16": 1e-2}[written[path]]
        return [Difference(one, "logits", 1.0, 1.0, far / one, 1 - far * one, 1 / one) for one in (1, 2)]

    monkeypatch.setattr(sys.modules[compared.__module__], "export_onnx", export)
    monkeypatch.setattr(sys.modules[compared.__module__], "differences", found)
    rows = compared(nn.Identity(), (3, 4, 4), None)
    assert list(rows) == list(PRECISIONS)
    assert rows["bf16"] == {"relative": 0.01, "cosine": 0.98, "agreement": 0.5}


def test_the_worst_of_all_graphs_is_shown() -> None:
    rows = {
        name: {word: {"relative": far, "cosine": 1 - far, "agreement": 1.0} for word in PRECISIONS}
        for name, far in {"a": 0.001, "b": 0.002}.items()
    }
    assert worst_by_precision(rows)["fp16"] == (2, 0.002, 0.998)
    head, lines = table_of(rows)
    assert head == HEAD and ("fp16", "2", "2.0e-03", "0.01", "5", "0.9980", "0.999") in list(lines)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_tolerance_leaves_room_above_what_was_measured_and_not_too_much(precision: str) -> None:
    graphs, relative, cosine = worst_by_precision(ROWS)[precision]
    assert graphs > 20
    assert 1.5 * relative < TOLERANCES[precision] < 50 * relative
    assert cosine > COSINES[precision]
