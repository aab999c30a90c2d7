"""The sensitivity pass: each product alone in 8 bits, measured once."""

from __future__ import annotations

from pathlib import Path

from secateur.export.quantize.quantize import product_sensitivities
from secateur.export.quantize.sensitivity import sensitivities
from secateur.export.quantize.trials import Trials
from tests.export.conftest import Batches, needs_ort
from tests.export.quantize.test_mixed import PLAIN, Known, narrow


def test_each_product_alone_is_judged(tmp_path: Path) -> None:
    written: list[tuple[str, ...]] = []
    judge = Known({})
    judge.divergence = lambda path: float(len(written))  # type: ignore[method-assign]
    trials = tmp_path / "trials.json"

    def found() -> dict[str, float]:
        return sensitivities("abc", lambda wide, path: written.append(tuple(wide)), judge, Trials("x", trials))

    assert found() == {"a": 1.0, "b": 2.0, "c": 3.0}
    assert written == [("b", "c"), ("a", "c"), ("a", "b")]
    assert found() == {"a": 1.0, "b": 2.0, "c": 3.0} and len(written) == 3


@needs_ort
def test_the_products_of_a_graph_with_what_each_costs(fp32: Path, images: Batches) -> None:
    names: list[set[str]] = []

    class Counting(Known):
        def divergence(self, path: Path) -> float:
            names.append(narrow(path))
            return float(len(names))

    found = product_sensitivities(fp32, images, Counting({}), options=PLAIN)
    assert all(len(one) == 1 for one in names)
    assert {one.node: one.divergence for one in found if one.divergence is not None} == {
        name: float(place + 1) for place, (name,) in enumerate(names)
    }
    assert len(names) == 12
    wide = [one for one in found if one.divergence is None]
    assert len(wide) == 2 and all(one.macs > 0 and one.module for one in found)  # the first and the last product
