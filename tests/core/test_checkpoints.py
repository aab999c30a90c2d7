"""Checkpoints: the state comes back, that of other work does not, and weights are told apart bit by bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from secateur.core.checkpoints import Checkpoint, weights_hash


def parts() -> dict[str, object]:
    torch.manual_seed(0)
    model = nn.Linear(2, 2)
    return {"model": model, "optimizer": torch.optim.AdamW(model.parameters(), lr=0.1)}


def test_the_state_after_a_step_comes_back(tmp_path: Path) -> None:
    place, made = Checkpoint(tmp_path / "work.pt", "one"), parts()
    assert place.load(made) == 0
    model = made["model"]
    assert isinstance(model, nn.Linear)
    model(torch.ones(1, 2)).sum().backward()
    made["optimizer"].step()  # type: ignore[attr-defined]  # an optimizer
    place.save(made, 7)
    assert [path.name for path in tmp_path.iterdir()] == ["work.pt"]
    fresh = parts()
    assert weights_hash(fresh["model"]) != weights_hash(model)  # type: ignore[arg-type]  # a module
    assert place.load(fresh) == 7
    assert weights_hash(fresh["model"]) == weights_hash(model)  # type: ignore[arg-type]  # a module
    states = [made["optimizer"].state_dict(), fresh["optimizer"].state_dict()]  # type: ignore[attr-defined]  # optimizers
    assert torch.equal(*(state["state"][0]["exp_avg"] for state in states))


def test_a_checkpoint_of_other_work_is_not_used(tmp_path: Path) -> None:
    Checkpoint(tmp_path / "work.pt", "one").save(parts(), 7)
    fresh = parts()
    before = weights_hash(fresh["model"])  # type: ignore[arg-type]  # a module
    assert Checkpoint(tmp_path / "work.pt", "other").load(fresh) == 0
    assert weights_hash(fresh["model"]) == before  # type: ignore[arg-type]  # a module


DAMAGES = {
    "empty": lambda data: b"",
    "cut off": lambda data: data[: len(data) // 2],
    "zeros": lambda data: b"\0" * len(data),
    "another file": lambda data: b"\x89PNG\r\n" + data,
    "pickle": lambda data: b"\x80\x04cos\nsystem\n.",
    "asks for memory": lambda data: b"\x80\x04\x8e" + (2**62).to_bytes(8, "little") + b".",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_said_and_the_work_starts_anew(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = Checkpoint(tmp_path / "work.pt", "one")
    place.save(parts(), 7)
    place.path.write_bytes(DAMAGES[damage](place.path.read_bytes()))
    _starts_anew(place, caplog)


@pytest.mark.parametrize("change", [{"optimizer": None}, {"model": {}}, {"steps": "x"}, {"steps": None}], ids=str)
def test_a_checkpoint_that_lacks_something_changes_nothing(
    change: dict[str, object], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place, made = Checkpoint(tmp_path / "work.pt", "one"), parts()
    made["model"].weight.data += 1  # type: ignore[attr-defined]  # a layer
    place.save(made, 7)
    torch.save({**torch.load(place.path, weights_only=True), **change}, place.path)
    _starts_anew(place, caplog)


def _starts_anew(place: Checkpoint, caplog: pytest.LogCaptureFixture) -> None:
    fresh = parts()
    before = weights_hash(fresh["model"])  # type: ignore[arg-type]  # a module
    assert place.load(fresh) == 0
    assert "work.pt is damaged" in caplog.text and "starts anew" in caplog.text
    assert weights_hash(fresh["model"]) == before  # type: ignore[arg-type]  # a module
    place.save(fresh, 2)
    assert place.load(parts()) == 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_weights_are_told_apart_by_every_bit_in_every_precision(dtype: torch.dtype) -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).to(dtype)
    before = weights_hash(model)
    assert before == weights_hash(model)
    assert len(before) == 64
    with torch.no_grad():
        model[0].weight[0, 0] = torch.nextafter(model[0].weight[0, 0].double(), torch.tensor(9.0).double()).to(dtype)
        model[0].weight[0, 0] *= 1.01
    assert weights_hash(model) != before
    model[1].num_batches_tracked += 1  # type: ignore[operator]  # a tensor: counters are state too
    assert weights_hash(model) != before
