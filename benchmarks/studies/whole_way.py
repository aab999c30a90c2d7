"""One model taken the whole way, from its groups to an engine, in a process of its own whose end tells what failed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from secateur.core.errors import PlanError

STAGES = ("create", "groups", "plan", "prune", "verify", "forward", "gradient", "load", "onnx", "parity", "engine")
BUDGETS = (0.5, 0.55, 0.6)
FIRST, MORE = ("mlp_hidden", "qk_dim", "v_dim", "channel"), ("width", "head")
TARGET = "tensorrt_rtx:sm_86"
MOST_PLANTED = 200
"""Of models with more readers than that every second, third or further one is planted wrongly."""


def reached(rows: Mapping[str, Mapping[str, Any]], stage: str) -> int:
    """How many models have done a stage."""
    return sum(row["stage"] == "done" or STAGES.index(row["stage"]) > STAGES.index(stage) for row in rows.values())


def mistakes(rows: Mapping[str, Mapping[str, Any]]) -> tuple[int, int, int]:
    """Over all models: the wrong readers that were noticed, those that were planted, the groups not verifiable."""
    noticed, planted = (sum(row.get(key, 0) for row in rows.values()) for key in ("noticed", "planted"))
    return noticed, planted, sum(len(row.get("unverifiable", ())) for row in rows.values())


def noticed_cell(row: Mapping[str, Any]) -> str:
    """How many of its wrong readers were noticed, as a cell of a table."""
    return f"{row['noticed']} of {row['planted']}" if "planted" in row else ""


HEADS = {"head": "whole heads", "qk_dim": "query/key dimensions", "v_dim": "value dimensions"}


def heads_summary(groups: Any) -> str:
    """Of whole heads and their dimensions what goes, in how many groups, and the commonest reason where some do not.

    A dash stands for a model without attention.
    """
    said = []
    for kind, word in HEADS.items():
        free = sum(group.kind == kind for group in groups)
        reasons = Counter(re.sub(r"^[\w.]+: ", "", one.reason) for one in groups.fixed if one.kind == kind)
        if free:
            said.append(f"{free} {word}")
        if reasons:
            said.append(f"{reasons.total()} fixed {word} ({reasons.most_common(1)[0][0][:60]})")
    return "; ".join(said) or "-"


def heads_cell(row: Mapping[str, Any]) -> str:
    """What of its heads goes, as a cell of a table; a row that was measured before that was noted says so."""
    return str(row.get("attention", "not noted")).replace("|", "/")


def number(value: float | None, form: str) -> str:
    """A number as a cell of a table, empty for none."""
    return "" if value is None else format(value, form)


def in_a_process(study: str, arguments: Sequence[str], limit: float) -> dict[str, Any]:
    """The row that a study prints for one model, whatever happens to its process.

    The last stage that it told of is the one that failed; `limit` is in seconds.
    """
    command = [sys.executable, "-P", "-m", f"secateur_studies.{study}", *arguments]
    started = time.perf_counter()
    error = ""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
        output = done.stdout
        if done.returncode:
            words = done.stderr.strip().splitlines()
            error = words[-1][:300] if words else f"its process ended with {done.returncode}"
    except subprocess.TimeoutExpired as stopped:
        output = stopped.stdout.decode() if isinstance(stopped.stdout, bytes) else stopped.stdout or ""
        error = f"over {limit:g} s"
    rows = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    row: dict[str, Any] = rows[-1] if rows else {"stage": "create"}
    if error:
        row["error"] = error
    return {**row, "seconds": time.perf_counter() - started}


def whole_way(create: Callable[[], tuple[Any, Any]], load: Callable[[Path, Any], Any], until: str = STAGES[-1]) -> None:
    """Takes a model through the stages to `until`, and prints the row so far before each, and at the end.

    `create` makes the model and an example of its input; `load` reads the pruned model from the folder in which it was
    saved, given it, and is to raise what is wrong with it.
    """
    import torch
    from torch import nn

    import secateur as sc
    from secateur.core.model_inputs import call, joined, tensors_in
    from secateur.pipeline.structure.comparison import compare

    row: dict[str, Any] = {}

    def stage(word: str) -> None:
        over = row.get("stage") == until  # the last one that was asked for
        row["stage"] = "done" if over else word
        print(json.dumps(row), flush=True)
        if over:
            raise SystemExit

    torch.set_num_threads(1)
    torch.manual_seed(0)
    stage("create")
    model, example = create()
    as_trained(model.eval())
    stage("groups")
    groups = sc.find_groups(model, example)
    heads = sorted({group.name for group in groups if group.kind == "head"})
    row.update(groups=len(groups), fixed=len(groups.fixed), adapted=len(groups.adapted), heads=len(heads))
    row["attention"] = heads_summary(groups)
    row["reasons"] = sorted({one.reason for one in groups.fixed})
    stage("plan")
    scores = sc.score(model, groups, (), "magnitude")
    plan, kinds = half(groups, scores)
    row.update(kinds=kinds, macs_left=groups.macs(plan.kept) / groups.macs())
    stage("prune")
    small = sc.prune(model, plan, groups)
    row["params_left"] = sum(p.numel() for p in small.parameters()) / sum(p.numel() for p in model.parameters())
    stage("verify")
    hidden = {one.name for one in (*groups.unverifiable, *sc.verify(small, model, plan, groups).unverifiable)}
    comparison = compare(model, small, groups, plan)
    wrong = [reader for readers in comparison.wrong.values() for reader in readers]
    moves = [comparison.move(reader) for reader in wrong[:: max(-(-len(wrong) // MOST_PLANTED), 1)]]
    noticed = sum(move > comparison.tolerance for move in moves)
    row.update(difference=comparison.difference, unverifiable=sorted(hidden), planted=len(moves), noticed=noticed)
    del model, scores, comparison  # half of a large model's memory
    pair = joined([example] * 2)
    stage("forward")
    with torch.no_grad():
        call(small, example), call(small, pair)
    stage("gradient")
    batched = any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in small.modules())
    outputs = tensors_in(call(small.train(), pair if batched else example))  # a batch of one has no statistics
    sum(output.float().sum() for output in outputs if output.requires_grad).backward()  # type: ignore[union-attr]
    if not any(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in small.parameters()):
        raise ArithmeticError("no finite gradient reaches any parameter")
    small.eval()
    small.zero_grad()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stage("load")
        sc.save(small, folder / "model")
        loaded = load(folder / "model", small)
        stage("onnx")
        sc.export_onnx(loaded, folder / "model.onnx", example)
        stage("parity")
        row["parity"] = sc.check_parity(loaded, folder / "model.onnx", batches=(1, 2)).worst.relative
        stage("engine")
        sc.build_engine(folder / "model.onnx", target=TARGET)
    stage("done")


def as_trained(model: Any) -> None:
    """Puts noise on whatever a model has initialised as zero, tiny or constant, as training would leave it."""
    import torch

    draw = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        noise = 0.3 * torch.randn(parameter.shape, generator=draw)
        if parameter.ndim < 2 or not parameter.abs().gt(1e-3).any():
            parameter.data.add_(noise)


def half(groups: Any, scores: Any) -> tuple[Any, list[str]]:
    """A plan for half of the MACs, with more kinds or a larger budget where that cannot be met; and its kinds."""
    import secateur as sc

    found = {group.kind for group in groups}
    reason = PlanError("no group is of a kind that can be removed")
    for extra in (False, True):
        kinds = [kind for kind in (*FIRST, *(MORE if extra else ())) if kind in found]
        for budget in BUDGETS if kinds else ():
            try:
                return sc.make_plan(groups, scores, sc.Budget(macs=budget), allocation="uniform", kinds=kinds), kinds
            except PlanError as error:
                reason = error
    raise reason


def check_same(found: Any, expected: Any) -> None:
    """Raises `ArithmeticError` where the tensors of two results differ in anything."""
    import torch

    from secateur.core.model_inputs import tensors_in

    one, two = tensors_in(found), tensors_in(expected)
    if len(one) != len(two) or not all(map(torch.equal, one, two)):
        raise ArithmeticError("the loaded model computes something else than the saved one")
