"""The closing of the demo: of a finished run, by its own plan, its own gate and what was found."""

from __future__ import annotations

from pathlib import Path

from secateur.pipeline.demo.closing import MIN_SPEEDUP, closing_of
from secateur.pipeline.structure.describe import GroupTable
from secateur.pipeline.structure.plan import Plan


def test_it_says_what_stayed_how_the_gate_judges_and_what_to_type(finished: Path) -> None:
    found = closing_of(finished)
    kept = Plan.load(finished / "plan.json").kept
    hidden = [group for group in GroupTable.load(finished / "groups.json").groups if group.kind == "mlp_hidden"]
    left = sum(len(kept.get(group.name, range(group.units))) for group in hidden)
    assert f"{left:,} of {sum(group.units for group in hidden):,} MLP hidden units" in found.stayed
    (speedup, *_) = [check for check in found.verdict.checks if check.name == "speedup"]
    assert speedup.limit == MIN_SPEEDUP
    assert "drop" in " ".join(check.name for check in found.verdict.checks)
    assert 1 <= len(found.steps) <= 3
    assert all(step.command.startswith("secateur ") for step in found.steps)
