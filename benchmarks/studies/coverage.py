"""How many of timm's model families secateur takes the whole way, from a model to an engine.

`python -m secateur_studies.coverage --models models.txt` prunes one model of each family to about half of its MACs and
goes on until an engine is built; each model runs in a process of its own. Finished rows are kept, so that a stopped
run goes on; `--again` repeats those that failed. `--until verify` ends after the proof, for a file of its own.

The weights are random, as training might leave them: what timm initialises as zero, tiny or constant (last
normalisations, LayerScale, biases) is given noise, so that every branch reaches the outputs. For each group that lost
units mistakes are planted in the pruned model, one reader after the other taking the wrong units, and the comparison of
removed with masked has to notice each (`noticed` of `planted`); groups of which it could not are `unverifiable`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from secateur.core.errors import PlanError
from secateur.core.files import read_json, write_json, write_text

STAGES = ("create", "groups", "plan", "prune", "verify", "forward", "gradient", "load", "onnx", "parity", "engine")
BUDGETS = (0.5, 0.55, 0.6)
FIRST, MORE = ("mlp_hidden", "qk_dim", "v_dim", "channel"), ("width", "head")
TARGET = "tensorrt_rtx:sm_86"
COMMAND = "python -m secateur_studies.coverage --models MODELS --reference TABLE"


@click.command()
@click.option("--models", type=click.Path(path_type=Path, exists=True), required=True, help="One timm name a line.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("benchmarks/results/coverage.json"))
@click.option("--reference", type=click.Path(path_type=Path, exists=True), help="A table with Torch-Pruning's results.")
@click.option("--again", is_flag=True, help="Repeat the rows that failed.")
@click.option("--only", multiple=True, help="These models only.")
@click.option("--limit", default=600, show_default=True, help="Seconds for one model.")
@click.option("--until", type=click.Choice(STAGES), default=STAGES[-1], show_default=True, help="The last stage.")
@click.option("--one", hidden=True, help="Take this model the whole way, and print its row.")
def main(
    models: Path,
    out: Path,
    reference: Path | None,
    again: bool,
    only: tuple[str, ...],
    limit: int,
    until: str,
    one: str | None,
) -> None:
    """Measures and writes one row for each family."""
    from secateur.benchmarks.environment import environment

    if one is not None:
        _whole_way(one, until, lambda row: print(json.dumps(row), flush=True))
        return
    names = [name for name in models.read_text().split() if not only or name in only]
    before = read_json(out, "coverage") if out.is_file() else {}
    rows: dict[str, Any] = before.get("rows", {})
    peer = _reference(reference) if reference else before.get("reference", {})
    for name in names:
        known = rows.get(name)
        if known is not None and not only and (known["stage"] == "done" or not again):
            continue
        rows[name] = _in_a_process(name, models, limit, until)
        click.echo(f"{name}: {rows[name]['stage']} {rows[name].get('error', '')}", err=True)
        ended = "" if until == STAGES[-1] else f" --until {until}"
        about = {"command": COMMAND + ended, "limit_seconds": limit, "environment": asdict(environment())}
        write_json(out, "coverage", {**about, "reference": peer, "rows": rows})
    write_text(out.with_suffix(".md"), table(rows, peer))


def reached(rows: Mapping[str, Mapping[str, Any]], stage: str) -> int:
    """How many models have done a stage."""
    return sum(row["stage"] == "done" or STAGES.index(row["stage"]) > STAGES.index(stage) for row in rows.values())


def table(rows: Mapping[str, Mapping[str, Any]], reference: Mapping[str, str]) -> str:
    """The rows as Markdown, beside what the reference reaches."""
    pruned, same, built = (reached(rows, stage) for stage in ("verify", "parity", "engine"))
    noticed, planted, hidden = mistakes(rows)
    lines = [
        f"Of {len(rows)} families {pruned} are pruned and proven, {same} reach parity in ONNX Runtime, {built} become "
        f"an engine. Of {planted} planted wrong readers {noticed} are noticed; {hidden} groups are not verifiable.",
        "",
        "| model | secateur | Torch-Pruning 1.6.1 | MACs left | kinds | groups | not verifiable | wrong readers "
        "noticed | removed - masked | fixed | parity | s | error |",
        "|---|---|---|---:|---|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    for name, row in rows.items():
        noticed_of = f"{row['noticed']} of {row['planted']}" if "planted" in row else ""
        hidden_here = str(len(row["unverifiable"])) if "unverifiable" in row else ""
        lines.append(
            f"| {name} | {row['stage']} | {reference.get(name, '')} | {_number(row.get('macs_left'), '.1%')} | "
            f"{', '.join(row.get('kinds', []))} | {row.get('groups', '')} | {hidden_here} | {noticed_of} | "
            f"{_number(row.get('difference'), '.1e')} | {row.get('fixed', '')} | {_number(row.get('parity'), '.1e')} | "
            f"{row['seconds']:.0f} | {row.get('error', '').replace('|', '/')} |"
        )
    return "\n".join(lines) + "\n"


def mistakes(rows: Mapping[str, Mapping[str, Any]]) -> tuple[int, int, int]:
    """Over all models: the wrong readers that were noticed, those that were planted, the groups not verifiable."""
    noticed, planted = (sum(row.get(key, 0) for row in rows.values()) for key in ("noticed", "planted"))
    return noticed, planted, sum(len(row.get("unverifiable", ())) for row in rows.values())


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _reference(path: Path) -> dict[str, str]:
    """The result by model of a Markdown table whose first columns are family, model and result."""
    cells = [[cell.strip() for cell in line.split("|")] for line in path.read_text().splitlines() if "|" in line]
    return {row[2]: row[3] for row in cells if len(row) > 4}


def _in_a_process(name: str, models: Path, limit: int, until: str) -> dict[str, Any]:
    """The row of one model, whatever happens to its process; the last stage that it told of is the one that failed."""
    command = [sys.executable, "-P", "-m", "secateur_studies.coverage", "--models", str(models)]
    command += ["--until", until, "--one", name]
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
        error = f"over {limit} s"
    rows = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    row: dict[str, Any] = rows[-1] if rows else {"stage": "create"}
    if error:
        row["error"] = error
    return {**row, "seconds": time.perf_counter() - started}


def _whole_way(name: str, until: str, tell: Callable[[Mapping[str, Any]], None]) -> None:
    """Takes one model through the stages to `until`; `tell` gets the row so far before each, and at the end."""
    import torch
    from torch import nn

    import secateur as sc
    from secateur.pipeline.models.inputs import input_shape
    from secateur.pipeline.structure.comparison import compare
    from secateur.pipeline.structure.cutting import example_for

    row: dict[str, Any] = {}

    def stage(word: str) -> None:
        if row.get("stage") == until:  # the last one that was asked for is over
            row["stage"] = "done"
            tell(row)
            raise SystemExit
        row["stage"] = word
        tell(row)

    torch.set_num_threads(1)
    torch.manual_seed(0)
    stage("create")
    model = _as_trained(sc.create_model(name))
    example = example_for(model, input_shape(model))
    stage("groups")
    groups = sc.find_groups(model, example)
    row.update(groups=len(groups), fixed=len(groups.fixed), adapted=len(groups.adapted))
    stage("plan")
    scores = sc.score(model, groups, (), "magnitude")
    plan, kinds = _plan(groups, scores)
    row.update(kinds=kinds, macs_left=groups.macs(plan.kept) / groups.macs())
    stage("prune")
    small = sc.prune(model, plan, groups)
    row["params_left"] = sum(p.numel() for p in small.parameters()) / sum(p.numel() for p in model.parameters())
    stage("verify")
    hidden = {one.name for one in (*groups.unverifiable, *sc.verify(small, model, plan, groups).unverifiable)}
    comparison = compare(model, small, groups, plan)
    moves = [comparison.move(reader) for readers in comparison.wrong.values() for reader in readers]
    noticed = sum(move > comparison.tolerance for move in moves)
    row.update(difference=comparison.difference, unverifiable=sorted(hidden), planted=len(moves), noticed=noticed)
    del model, scores, comparison  # half of a large model's memory
    pair = torch.cat([example, example])
    stage("forward")
    with torch.no_grad():
        small(example), small(pair)
    stage("gradient")
    batched = any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in small.modules())
    small.train()(pair if batched else example).float().sum().backward()  # a batch of one has no statistics
    if not any(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in small.parameters()):
        raise ArithmeticError("no finite gradient reaches any parameter")
    small.eval()
    small.zero_grad()
    with tempfile.TemporaryDirectory() as folder:
        stage("load")
        sc.save(small, f"{folder}/model")
        loaded = sc.load(f"{folder}/model")
        with torch.no_grad():
            if not torch.equal(loaded(pair), small(pair)):
                raise ArithmeticError("the loaded model computes something else than the saved one")
        stage("onnx")
        sc.export_onnx(loaded, f"{folder}/model.onnx", example)
        stage("parity")
        row["parity"] = sc.check_parity(loaded, f"{folder}/model.onnx", batches=(1, 2)).worst.relative
        stage("engine")
        sc.build_engine(f"{folder}/model.onnx", target=TARGET)
    stage("done")


def _as_trained(model: Any) -> Any:
    """A model with noise on whatever is initialised as zero, tiny or constant, as training would leave it."""
    import torch

    draw = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        noise = 0.3 * torch.randn(parameter.shape, generator=draw)
        if parameter.ndim < 2 or parameter.abs().max() < 1e-3:
            parameter.data.add_(noise)
    return model


def _plan(groups: Any, scores: Any) -> tuple[Any, list[str]]:
    """A plan for half of the MACs, with more kinds or a larger budget where that cannot be met; and its kinds."""
    import secateur as sc

    found = {group.kind for group in groups}
    for extra in (False, True):
        kinds = [kind for kind in (*FIRST, *(MORE if extra else ())) if kind in found]
        for budget in BUDGETS if kinds else ():
            try:
                return sc.make_plan(groups, scores, sc.Budget(macs=budget), allocation="uniform", kinds=kinds), kinds
            except PlanError as error:
                reason = error
    raise reason


if __name__ == "__main__":
    main()
