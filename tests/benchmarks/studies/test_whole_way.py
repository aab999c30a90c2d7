"""A model taken the whole way: what its row says of how far it got, and what is noticed on the way."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from secateur_studies.foreign_models import MODELS
from secateur_studies.whole_way import (
    STAGES,
    check_same,
    heads_cell,
    heads_summary,
    in_a_process,
    mistakes,
    reached,
    whole_way,
)
from torch import nn

from secateur.core.model_inputs import call, joined
from secateur.pipeline.structure.find import find_groups
from tests.pipeline.structure.graph.attentions import IMAGE, made

OWN = [name for name in MODELS if name.startswith("own/")]


def test_stages_count_as_done_only_when_they_are_over() -> None:
    rows = {"a": {"stage": "done"}, "b": {"stage": "parity"}, "c": {"stage": "create"}}
    assert [reached(rows, stage) for stage in ("create", "onnx", "parity")] == [2, 2, 1]


def test_mistakes_are_counted_over_rows_that_may_lack_them() -> None:
    rows = {"a": {"noticed": 3, "planted": 4, "unverifiable": ["x"]}, "b": {"stage": "prune"}}
    assert mistakes(rows) == (3, 4, 1)


def test_a_row_says_which_parts_of_heads_go_and_why_others_do_not() -> None:
    found = find_groups(made("channels (XCiT)"), IMAGE, verify=False)
    said = heads_summary(found)
    assert said == (
        "1 whole heads; 1 fixed query/key dimensions (softmax runs over all dimensions of a head); 1 value dimensions"
    )
    assert heads_summary(find_groups(nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 3)), torch.zeros(1, 4))) == "-"
    assert (heads_cell({"attention": said}), heads_cell({"stage": "done"})) == (said, "not noted")


def test_what_a_process_dies_of_is_its_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "python"
    program.write_text('#!/bin/sh\necho \'{"stage": "prune"}\'\necho "ValueError: too wide" >&2\nexit 3\n')
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    row = in_a_process("any", [], limit=30)
    assert (row["stage"], row["error"]) == ("prune", "ValueError: too wide")
    program.write_text('#!/bin/sh\necho \'{"stage": "onnx"}\'\nexec sleep 30\n')
    row = in_a_process("any", [], limit=0.5)
    assert (row["stage"], row["error"]) == ("onnx", "over 0.5 s")


@pytest.mark.nightly
def test_a_model_goes_until_the_stage_that_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        whole_way(MODELS["own/unet"], lambda _folder, _small: None, "verify")
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["stage"] for row in rows] == [*STAGES[: STAGES.index("verify") + 1], "done"]
    assert rows[-1]["noticed"] == rows[-1]["planted"] > 5
    assert rows[-1]["macs_left"] < 0.51


def test_a_model_that_loads_as_another_is_noticed() -> None:
    x = torch.randn(2, 3)
    one = nn.Linear(3, 4)
    check_same({"a": one(x)}, [one(x)])
    for other in ([one(x) + 1e-6], [one(x), x], []):
        with pytest.raises(ArithmeticError, match="something else"):
            check_same(other, [one(x)])


@pytest.mark.parametrize("name", OWN)
def test_models_written_here_take_more_samples_and_train(name: str) -> None:
    model, example = MODELS[name]()
    for batch in (example, joined([example] * 3)):
        found = call(model.train(), batch)
        tensors: list[Any] = list(found.values()) if isinstance(found, dict) else [found]
        sum(tensor.square().sum() for tensor in tensors).backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters())
