"""The cost of closed forms: what is extrapolated and compared, what is left to do, and that every work runs."""

from __future__ import annotations

from typing import Any

import pytest
from secateur_studies.closed_form_cost import COUNTS, WORKS, prepared, summary, turns


def row(work: str, images: int, seconds: float) -> dict[str, Any]:
    return {"work": work, "images": images, "cpu_seconds": seconds, "peak_bytes": 1e9 + 1e6 * images}


def test_costs_with_1000_images_are_on_the_line_through_the_rows() -> None:
    per_image = dict(zip(WORKS, (0.1, 0.2, 0.25, 0.4), strict=True))
    rows = [
        row(work, n, 7 + each * n + noise) for work, each in per_image.items() for n in (8, 24) for noise in (-1, 1)
    ]
    found = summary(rows)
    assert found["cpu_seconds"] == pytest.approx({work: 7 + 1000 * each for work, each in per_image.items()})
    assert found["peak_bytes"] == pytest.approx(dict.fromkeys(WORKS, 2e9))
    ratios = {name: part["ratio"] for name, part in found["ratios"].items()}
    assert ratios == pytest.approx({"scoring / forward and backward": 257 / 207, "repair / forward": 407 / 107})
    partly = summary([part for part in rows if part["work"] != "forward" or part["images"] == 8])
    assert partly["cpu_seconds"]["forward"] is None
    assert list(partly["ratios"]) == ["scoring / forward and backward"]


def test_every_work_has_two_turns_with_each_number_of_images() -> None:
    every = list(turns())
    assert len(set(every)) == len(every) == len(COUNTS) * 2 * len(WORKS) * 2
    assert [work for _, work, _, _ in every[:8]] == [*WORKS, *reversed(WORKS)]


@pytest.mark.parametrize("work", WORKS)
def test_every_work_runs(work: str) -> None:
    sizes = {"img_size": 16, "patch_size": 4, "embed_dim": 48, "depth": 1, "num_heads": 3, "num_classes": 5}
    prepared("vit_tiny_patch16_224", work, 3, **sizes)()
