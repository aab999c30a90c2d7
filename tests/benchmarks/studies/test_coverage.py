"""The table of families says of how far they were taken, and no more."""

from __future__ import annotations

from secateur_studies.coverage import table


def test_what_was_not_tried_is_not_claimed() -> None:
    rows = {"a": {"stage": "done", "seconds": 1.0, "planted": 4, "noticed": 4, "unverifiable": []}}
    whole, short = (table(rows, {}, until).splitlines()[0] for until in ("engine", "verify"))
    assert whole.startswith(
        "Of 1 families 1 are pruned and proven, 1 reach parity in ONNX Runtime, 1 become an engine."
    )
    assert short.startswith("Of 1 families 1 are pruned and proven. Of 4 planted wrong readers 4 are noticed")
