"""Operations timed in int8: one family after the other, dense and narrower, in the graphs of the export."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch

from secateur.benchmarks.runners import Subject
from secateur.export.graph_types import declared_precisions, read_graph
from secateur.export.quantize.spec import Quantization
from secateur.export.targets import parse_target
from secateur.pipeline.plan.kept_timings import KeptTimings
from secateur.pipeline.plan.latency_table import OperationCurve
from secateur.pipeline.plan.precision_profile import operation_curves
from secateur.pipeline.plan.timing import Saved, Timing
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Groups, Kept
from secateur.pipeline.structure.plan import plan_from_kept
from secateur.pipeline.structure.surgery import cut
from tests.conftest import make_vit

pytest.importorskip("onnxruntime")
ONLY_MLP = Quantization(rest="fp32", keep=("*attn*", "patch*", "head*"))


def in_int8(graph: Path | None) -> set[str]:
    """The modules of a graph's products in int8."""
    assert graph is not None
    content = read_graph(graph)
    modules = {
        node.name: {one.key: one.value for one in node.metadata_props}.get("module", "") for node in content.graph.node
    }
    return {modules[name] for name, precision in declared_precisions(content).items() if precision == "int8"}


def curves(*kept: Kept) -> tuple[Groups, tuple[OperationCurve, ...]]:
    """What is found of a small model, and of it with only these units."""
    model = make_vit(depth=1)
    groups = find_groups(model, torch.zeros(1, 3, 16, 16))
    narrower = [(cut(model, groups, plan_from_kept(groups, one)), one) for one in kept]
    images, timing = [(torch.randn(8, 3, 16, 16), torch.zeros(8))], Timing(parse_target("onnxruntime:cpu"), 1, 1, 0.02)
    with TemporaryDirectory() as folder:
        models = [(model, {}), *narrower]
        return groups, operation_curves(models, groups, ["int8"], images, ONLY_MLP, timing, Path(folder), KeptTimings())


@pytest.mark.nightly
def test_a_family_after_the_other_goes_to_int8(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs: list[tuple[set[str], set[str]]] = []

    def saved(_: Timing, before: Subject, after: Subject) -> Saved:
        pairs.append((in_int8(before.onnx), in_int8(after.onnx)))
        return Saved(9.0, 3.0 * len(pairs), 2.0, 4.0)

    monkeypatch.setattr(Timing, "saved", saved)
    groups, (one, other) = curves({"blocks.0.mlp.hidden": range(96)})
    first, second = "blocks.0.mlp.fc1", "blocks.0.mlp.fc2"
    assert pairs == 2 * [(set(), {first}), ({first}, {first, second})]
    assert (one.operations, other.operations) == ((first,), (second,))
    assert one.macs == tuple(term.count({}) for term in groups.terms if term.name == first)
    assert one.shares == other.shares == (0, 0.5, 1)
    assert (one.saved_ms, other.saved_ms) == ((0, 9, 3), (0, 12, 6))  # the third and the fourth pair are of the half


def test_savings_are_measured() -> None:
    _, found = curves()
    assert [one.precision for one in found] == ["int8", "int8"]
    for one in found:
        assert one.shares == (0, 1) and one.saved_ms[0] == 0 != one.saved_ms[1]
        assert one.low_ms[1] <= one.saved_ms[1] <= one.high_ms[1]
