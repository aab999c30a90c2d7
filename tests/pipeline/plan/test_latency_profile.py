"""Profiles: one family narrowed at a time, to aligned widths, and its saving shared out; one measured for real."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from secateur.benchmarks.environment import environment
from secateur.benchmarks.runners import Subject
from secateur.core.errors import PlanError, SecateurError
from secateur.core.files import read_json
from secateur.export.devices.device import Device, Remote
from secateur.export.quantize.spec import Quantization
from secateur.pipeline.plan import latency_profile
from secateur.pipeline.plan.latency_profile import SHARES, profile
from secateur.pipeline.plan.latency_table import LatencyTable, OperationCurve
from secateur.pipeline.plan.precision_profile import Widths
from secateur.pipeline.plan.timing import Saved, Timing
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Groups, Kind
from tests.conftest import make_vit


def test_the_saving_of_a_family_is_shared_out_among_its_groups(
    vit: nn.Module, vit_groups: Groups, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[int] = []

    def saved(_: Timing, dense: Subject, narrowed: Subject) -> Saved:
        large, small = (
            sum(part.numel() for part in one.module.parameters()) for one in (dense, narrowed) if one.module
        )
        measured.append(small)
        assert small < large == vit_groups.params()
        return Saved(8.0, 4.0, 3.0, 6.0)

    monkeypatch.setattr(Timing, "saved", saved)
    found = profile(vit, vit_groups, "torch:cpu", ("mlp_hidden",), align=8)
    (curve,) = found.curves
    kept = [192 - 8 * round((1 - share) * 23) for share in SHARES]  # 8 units stay in any case: 23 steps may be taken
    assert (found.dense_ms, found.wide, found.operations) == (8, "fp32", ())
    assert curve.shares == pytest.approx((*(width / 192 for width in kept), 1.0))
    assert curve.saved_ms == (2.0, 2.0, 2.0, 0.0)  # 4 ms, 2 ms for each of the two groups
    assert curve.low_ms == pytest.approx((1.5, 1.5, 1.5, 0.0))
    assert curve.high_ms == pytest.approx((3.0, 3.0, 3.0, 0.0))
    names = ("blocks.0.mlp.hidden", "blocks.1.mlp.hidden")
    assert measured == [vit_groups.params(dict.fromkeys(names, range(width))) for width in kept]


def test_a_profile_that_was_stopped_goes_on(
    vit: nn.Module, vit_groups: Groups, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Stopped in the third of its measurements: the file has two, whatever came after, and the rest is measured."""
    keep, said, count = tmp_path / "part.json", list[str](), 0

    def saved(_: Timing, dense: Subject, narrowed: Subject) -> Saved:
        nonlocal count
        count += 1
        if count == 3:
            raise KeyboardInterrupt
        return Saved(8.0 + count, 4.0, 3.0, 6.0)

    def again(batch: int = 1) -> LatencyTable:
        return profile(vit, vit_groups, "torch:cpu", ("mlp_hidden",), batch, align=8, say=said.append, keep=keep)

    monkeypatch.setattr(Timing, "saved", saved)
    with pytest.raises(KeyboardInterrupt):
        again()
    assert len(read_json(keep, "profile_part")["saved"]) == 2
    found = again()
    assert (count, found.dense_ms, keep.exists()) == (4, 10.0, False)  # the middle one of 9, 10 and 12
    assert said[-4] == "going on after 2 measurements of before" and said[-1].startswith("3 of 3: ")
    count = 0
    with pytest.raises(KeyboardInterrupt):
        again()
    again(batch=2)
    assert count == 6  # for another batch nothing is known


def test_a_table_of_a_device_has_its_environment(
    vit: nn.Module, vit_groups: Groups, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    board, places = replace(environment(1), cpu_model="a board's"), list[object]()

    def saved(timing: Timing, dense: Subject, narrowed: Subject) -> Saved:
        places.append(timing.remote)
        if len(places) == 2:
            raise KeyboardInterrupt
        return Saved(8.0, 4.0, 3.0, 6.0, board)

    def there(name: str) -> LatencyTable:
        remote = Remote(Device(name, "host"))
        words = (vit, vit_groups, "torch:cpu", ("mlp_hidden",))
        return profile(*words, align=96, keep=tmp_path / "part.json", remote=remote)

    monkeypatch.setattr(Timing, "saved", saved)
    assert there("orin").environment == board and places == [Remote(Device("orin", "host"))]
    with pytest.raises(KeyboardInterrupt):
        there("orin")
    there("thor")
    assert len(places) == 3


def test_operations_are_timed_dense_and_at_half_of_all_units(
    vit: nn.Module, vit_groups: Groups, monkeypatch: pytest.MonkeyPatch
) -> None:
    curve = OperationCurve("int8", ("head",), (1.0,), (0.0, 1.0), (0.0, 2.0), (0.0, 1.0), (0.0, 3.0))
    widths: list[float] = []

    def curves(models: Widths, groups: Groups, precisions: Sequence[str], *rest: Any) -> tuple[OperationCurve, ...]:
        widths.extend(sum(part.numel() for part in model.parameters()) / groups.params(kept) for model, kept in models)
        widths.extend(len(kept.get("blocks.1.mlp.hidden", range(192))) / 192 for _, kept in models)
        assert precisions == ("int8",) and rest[1].rest == "fp16"
        return (curve,)

    monkeypatch.setattr(Timing, "saved", lambda *_: Saved(8.0, 4.0, 3.0, 6.0))
    monkeypatch.setattr(latency_profile, "wide_graph", lambda model, groups, path, rest, images: path)
    monkeypatch.setattr(latency_profile, "operation_curves", curves)
    options = Quantization(rest="fp16")
    table = profile(vit, vit_groups, "onnxruntime:cpu", precisions=("int8",), calibration=[], options=options)
    assert (table.wide, table.operations) == ("fp16", (curve,))
    assert widths == pytest.approx([1, 1, 1, 0.5], abs=0.05)


@pytest.mark.parametrize(
    ("target", "precisions", "images", "words"),
    [
        (
            "torch:cpu",
            ("int8",),
            [],
            "torch:cpu runs the module as it is, and has no int8: give the target of a runtime",
        ),
        ("onnxruntime:cpu", ("int8",), None, "in int8 needs calibration images, from which the graphs are made"),
        ("onnxruntime:cpu", ("fp16",), [], "operations cannot be timed in fp16: give int8 or fp8"),
        ("tensorrt_rtx:sm_86", ("fp8",), [], "tensorrt_rtx:sm_86 has no fp8"),
    ],
)
def test_precisions_that_cannot_be_timed_are_refused(
    target: str, precisions: Sequence[str], images: Any, words: str, vit: nn.Module, vit_groups: Groups
) -> None:
    with pytest.raises(SecateurError, match=words):
        profile(vit, vit_groups, target, precisions=precisions, calibration=images)


@pytest.mark.parametrize(
    ("target", "kinds", "align", "widths"),
    [
        ("torch:cpu", ("mlp_hidden", "head"), 8, (0.25, 0.5, 0.75)),
        ("onnxruntime:cpu", ("mlp_hidden",), 96, (0.5,)),  # of 192 units; each width is an export
    ],
)
def test_a_profile_has_a_curve_for_each_family(
    target: str, kinds: tuple[Kind, ...], align: int, widths: tuple[float, ...]
) -> None:
    vit, said = make_vit(depth=1), list[str]()
    vit_groups = find_groups(vit, torch.zeros(1, 3, 16, 16))
    found = profile(vit, vit_groups, target, kinds, align=align, seconds=0.05, say=said.append)
    assert found.target == target
    assert found.dense_ms > 0
    mlp, head = (vit_groups.named(name).family for name in ("blocks.0.mlp.hidden", "blocks.0.attn.heads"))
    curves = {curve.family: curve for curve in found.curves}
    assert set(curves) == ({mlp, head} if "head" in kinds else {mlp})
    assert curves[mlp].shares == pytest.approx((*widths, 1.0), abs=0.05)
    assert curves[mlp].saved_ms[-1] == 0
    assert all(low <= saved <= high for low, saved, high in zip(
        curves[mlp].low_ms, curves[mlp].saved_ms, curves[mlp].high_ms, strict=True
    ))  # fmt: skip
    assert len(said) == sum(len(curve.shares) - 1 for curve in found.curves)
    with pytest.raises(PlanError, match="no group is of the kinds channel"):
        profile(vit, vit_groups, target, ("channel",))
