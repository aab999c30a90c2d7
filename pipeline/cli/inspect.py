"""`secateur inspect MODEL`."""

from __future__ import annotations

from pathlib import Path

import click

from secateur.pipeline.cli.common import NAMED, echo, json_option, print_json, trusting


@trusting("model")
@click.command("inspect", short_help="What can be removed from a model, and what cannot.")
@click.argument("model", type=NAMED)
@click.option("--align", default=8, show_default=True, type=click.IntRange(1), help="Widths are multiples of this.")
@json_option
def command(model: str, align: int, as_json: bool) -> None:
    """Lists the groups of a timm model or of a run's pruned model: kind, units, parameters, share of the MACs; and what
    is fixed.

    A step is how many units go at once, so that widths keep their alignment. A group is not verifiable when the
    outputs would not show that surgery took its wrong units.

    Of an .onnx file or an engine it shows what that carries: inputs, outputs, precision, preprocessing and classes.

    Example: secateur inspect deit_tiny_patch16_224
    """
    from secateur.export.engine_info import INFO_FILE

    if Path(model).suffix in (".onnx", ".engine") or (Path(model) / INFO_FILE).is_file():
        _file(Path(model), as_json)
        return
    from dataclasses import asdict

    from rich.table import Table

    from secateur.pipeline.models.create import create_model
    from secateur.pipeline.models.inputs import input_shape
    from secateur.pipeline.report.console import InertConsole
    from secateur.pipeline.runs.run_folder import is_run
    from secateur.pipeline.runs.runner import open_run
    from secateur.pipeline.structure.describe import describe
    from secateur.pipeline.structure.find import find_groups
    from secateur.pipeline.structure.storage import load
    from secateur.pipeline.structure.surgery import example_for

    folder, shown = Path(model), model
    if is_run(folder):
        module, shown = open_run(folder).small, f"the pruned model of {model}"
    else:
        module = load(folder) if folder.is_dir() else create_model(model)
    found = describe(find_groups(module, example_for(module, input_shape(module))), align)
    if as_json:
        print_json(asdict(found))
        return
    table = Table(title=f"{shown}: {found.macs / 1e9:.3f} GMACs, {found.params / 1e6:.2f} M parameters")
    for column in ("group", "kind", "units", "step", "parameters", "MACs"):
        table.add_column(column, justify="left" if column in ("group", "kind") else "right")
    for row in found.groups:
        units = f"{row.blocks} x {row.units // row.blocks}" if row.blocks > 1 else str(row.units)
        numbers = (str(row.step), f"{row.params:,}", f"{row.macs_share:.1%}")
        table.add_row(row.name, row.kind, units, *numbers)
    console = InertConsole()
    console.print(table)
    for item in found.fixed:
        console.print(f"fixed: {item.name} ({item.kind}, {item.units} units): {item.reason}")
    for hidden in found.unverifiable:
        console.print(f"not verifiable: {hidden.name}: {hidden.reason}")
    for operation in found.uncounted:
        console.print(f"not counted: {operation} may carry MACs that nobody knows here")
    for name in found.one_size:
        console.print(f"one size: the code of {name}, once pruned, takes inputs of this size only")


def _file(path: Path, as_json: bool) -> None:
    """What a graph or an engine carries for whoever deploys it."""
    from dataclasses import asdict

    from secateur.export.notes import read_notes

    found = read_notes(path)
    if as_json:
        print_json(asdict(found))
        return
    rule, classes = found.preprocessing, found.classes
    rows = {
        "made by": f"secateur {found.version}" if found.version else "another exporter",
        "target": found.target,
        "precision": found.precision,
        "takes": ", ".join(map(str, found.inputs)),
        "gives": ", ".join(map(str, found.outputs)),
        "resizing": f"{rule.interpolation}, crop {rule.crop_mode} {rule.crop_pct:g}, {rule.size}" if rule else "",
        "normalisation": f"{'inside' if rule.inside else 'outside'}: mean {rule.mean}, std {rule.std}" if rule else "",
        "classes": f"{len(classes)}: {', '.join(classes[:5])}{', ...' if len(classes) > 5 else ''}" if classes else "",
    }
    for word, text in rows.items():
        if text:
            echo(f"{word}: {text}")
