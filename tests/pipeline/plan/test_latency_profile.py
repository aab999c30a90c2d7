"""Profiles: one family narrowed at a time, to aligned widths, and its saving shared out; one measured for real."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from secateur.benchmarks.bootstrap import Interval
from secateur.core.errors import PlanError
from secateur.pipeline.plan import latency_profile
from secateur.pipeline.plan.latency_profile import SHARES, profile
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Groups
from tests.conftest import make_vit


class _Paired:
    """What measuring a pair gives: the dense model takes 8 ms, and the narrowed one half of it."""

    a_ms = (7.0, 8.0, 9.0)

    def interval(self) -> Interval:
        return Interval(2.0, 1.6, 4.0)


def test_the_saving_of_a_family_is_shared_out_among_its_groups(
    vit: nn.Module, vit_groups: Groups, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[str] = []
    measured: list[int] = []

    class Runner:
        def __init__(self, model: nn.Module) -> None:
            self.params = sum(part.numel() for part in model.parameters())

        def close(self) -> None:
            closed.append("closed")

    def make(subject: Any, *_: object) -> Runner:
        return Runner(subject.module)

    def measure(dense: Runner, narrowed: Runner, **_: float) -> _Paired:
        measured.append(narrowed.params)
        assert narrowed.params < dense.params == vit_groups.params()
        return _Paired()

    monkeypatch.setattr(latency_profile, "make_runner", make)
    monkeypatch.setattr(latency_profile, "measure_pair", measure)
    found = profile(vit, vit_groups, "torch:cpu", ("mlp_hidden",), align=8)
    (curve,) = found.curves
    kept = [192 - 8 * round((1 - share) * 23) for share in SHARES]  # 8 units stay in any case: 23 steps may be taken
    assert found.dense_ms == 8
    assert curve.shares == pytest.approx((*(width / 192 for width in kept), 1.0))
    # 8 ms less the 4 ms of half the time are 4 ms, 2 ms for each of the two groups
    assert curve.saved_ms == (2.0, 2.0, 2.0, 0.0)
    assert curve.low_ms == pytest.approx((1.5, 1.5, 1.5, 0.0))
    assert curve.high_ms == pytest.approx((3.0, 3.0, 3.0, 0.0))
    names = ("blocks.0.mlp.hidden", "blocks.1.mlp.hidden")
    assert measured == [vit_groups.params(dict.fromkeys(names, range(width))) for width in kept]
    assert len(closed) == 2 * len(SHARES)


@pytest.mark.parametrize("most", [1, 2])
def test_what_was_opened_is_closed_when_something_fails(
    most: int, vit: nn.Module, vit_groups: Groups, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second runner cannot be made, or both were and measuring fails."""
    opened: list[int] = []
    closed: list[int] = []
    make: Callable[..., Any] = latency_profile.make_runner

    def watched(*args: object) -> Any:
        if len(opened) == most:
            raise RuntimeError("the machine is too busy")
        opened.append(1)
        return replace(make(*args), release=lambda: closed.append(1))

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the machine is too busy")

    monkeypatch.setattr(latency_profile, "make_runner", watched)
    monkeypatch.setattr(latency_profile, "measure_pair", broken)
    with pytest.raises(RuntimeError, match="too busy"):
        profile(vit, vit_groups, "torch:cpu", ("mlp_hidden",))
    assert len(closed) == len(opened) == most


@pytest.mark.parametrize("target", ["torch:cpu", "onnxruntime:cpu"])
def test_a_profile_has_a_curve_for_each_family(target: str) -> None:
    vit, said = make_vit(depth=1), list[str]()
    vit_groups = find_groups(vit, torch.zeros(1, 3, 16, 16))
    found = profile(vit, vit_groups, target, ("mlp_hidden", "head"), seconds=0.05, say=said.append)
    assert found.target == target
    assert found.dense_ms > 0
    mlp, head = (vit_groups.named(name).family for name in ("blocks.0.mlp.hidden", "blocks.0.attn.heads"))
    curves = {curve.family: curve for curve in found.curves}
    assert set(curves) == {mlp, head}
    assert curves[mlp].shares == pytest.approx((0.25, 0.5, 0.75, 1.0), abs=0.05)
    assert curves[mlp].saved_ms[-1] == 0
    assert all(low <= saved <= high for low, saved, high in zip(
        curves[mlp].low_ms, curves[mlp].saved_ms, curves[mlp].high_ms, strict=True
    ))  # fmt: skip
    assert len(said) == len(curves[mlp].shares) + len(curves[head].shares) - 2
    with pytest.raises(PlanError, match="no group is of the kinds channel"):
        profile(vit, vit_groups, target, ("channel",))
