"""How many of timm's model families secateur takes the whole way, from a model to an engine.

`python -m secateur_studies.coverage --models models.txt` prunes one model of each family to about half of its MACs and
goes on until an engine is built; each model runs in a process of its own. Finished rows are kept, so that a stopped
run goes on; `--again` repeats those that failed. `--until verify` ends after the proof, for a file of its own.

The weights are random, as training might leave them: what timm initialises as zero, tiny or constant (last
normalisations, LayerScale, biases) is given noise, so that every branch reaches the outputs. For each group that lost
units mistakes are planted in the pruned model, one reader after the other taking the wrong units (at most 200, evenly
drawn), and the comparison of removed with masked has to notice each (`noticed` of `planted`); groups of which it could
not are `unverifiable`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from secateur_studies.whole_way import (
    STAGES,
    check_same,
    heads_cell,
    in_a_process,
    mistakes,
    noticed_cell,
    number,
    reached,
    whole_way,
)

from secateur.core.files import read_json, write_json, write_text

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
        whole_way(lambda: _made(one), _loaded, until)
        return
    names = [name for name in models.read_text().split() if not only or name in only]
    before = read_json(out, "coverage") if out.is_file() else {}
    rows: dict[str, Any] = before.get("rows", {})
    peer = _reference(reference) if reference else before.get("reference", {})
    for name in names:
        known = rows.get(name)
        if known is not None and not only and (known["stage"] == "done" or not again):
            continue
        row = in_a_process("coverage", ["--models", str(models), "--until", until, "--one", name], limit)
        rows[name] = {**row, "commit": environment().git_commit}
        click.echo(f"{name}: {rows[name]['stage']} {rows[name].get('error', '')}", err=True)
        ended = "" if until == STAGES[-1] else f" --until {until}"
        about = {"command": COMMAND + ended, "limit_seconds": limit, "environment": asdict(environment())}
        write_json(out, "coverage", {**about, "reference": peer, "rows": rows})
    write_text(out.with_suffix(".md"), table(rows, peer, until))


def table(rows: Mapping[str, Mapping[str, Any]], reference: Mapping[str, str], until: str = STAGES[-1]) -> str:
    """The rows as Markdown, beside what the reference reaches; they were taken no further than the stage `until`."""
    pruned, same, built = (reached(rows, stage) for stage in ("verify", "parity", "engine"))
    noticed, planted, hidden = mistakes(rows)
    further = f", {same} reach parity in ONNX Runtime, {built} become an engine" if until == STAGES[-1] else ""
    lines = [
        f"Of {len(rows)} families {pruned} are pruned and proven{further}. Of {planted} planted wrong readers "
        f"{noticed} are noticed; {hidden} groups are not verifiable.",
        "",
        "| model | secateur | Torch-Pruning 1.6.1 | MACs left | kinds | groups | heads | not verifiable | wrong "
        "readers noticed | removed - masked | fixed | parity | s | commit | error |",
        "|---|---|---|---:|---|---:|---|---:|---:|---:|---:|---:|---:|---|---|",
    ]
    for name, row in rows.items():
        hidden_here = str(len(row["unverifiable"])) if "unverifiable" in row else ""
        lines.append(
            f"| {name} | {row['stage']} | {reference.get(name, '')} | {number(row.get('macs_left'), '.1%')} | "
            f"{', '.join(row.get('kinds', []))} | {row.get('groups', '')} | {heads_cell(row)} | {hidden_here} | "
            f"{noticed_cell(row)} | {number(row.get('difference'), '.1e')} | {row.get('fixed', '')} | "
            f"{number(row.get('parity'), '.1e')} | "
            f"{row['seconds']:.0f} | {(row.get('commit') or '')[:7]} | {row.get('error', '').replace('|', '/')} |"
        )
    return "\n".join(lines) + "\n"


def _reference(path: Path) -> dict[str, str]:
    """The result by model of a Markdown table whose first columns are family, model and result."""
    cells = [[cell.strip() for cell in line.split("|")] for line in path.read_text().splitlines() if "|" in line]
    return {row[2]: row[3] for row in cells if len(row) > 4}


def _made(name: str) -> tuple[Any, Any]:
    """A model of timm with random weights, and an image of its own size."""
    import secateur as sc
    from secateur.pipeline.models.inputs import input_shape
    from secateur.pipeline.structure.cutting import example_for

    model = sc.create_model(name)
    return model, example_for(model, input_shape(model))


def _loaded(folder: Path, small: Any) -> Any:
    """The model that was saved, which has to compute what the saved one does."""
    import torch

    import secateur as sc
    from secateur.pipeline.models.inputs import input_shape
    from secateur.pipeline.structure.cutting import example_for

    loaded = sc.load(folder)
    pair = example_for(small, input_shape(small), batch=2)
    with torch.no_grad():
        check_same(loaded(pair), small(pair))
    return loaded


if __name__ == "__main__":
    main()
