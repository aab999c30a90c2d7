"""`secateur init`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from secateur.pipeline.cli.common import NAMED, PLACE, Place, echo
from secateur.pipeline.cli.first import budget_option, ema_option, weights_option

QUESTIONS = {
    "model": "model (a timm name, a checkpoint, a folder, or package.module:function)",
    "data": "images (a folder, labels.csv, .npz)",
    "target": "target device",
    "budget": "budget (macs, params, units, bit_ops or latency, a fraction or an amount)",
}
USUAL = {"target": "onnxruntime:cpu", "budget": "macs=0.5"}


@click.command("init", short_help="Asks for a model, images, a device and a budget, and writes a commented recipe.")
@click.argument("path", type=Place(dir_okay=False), default=Path("recipe.yaml"))
@click.option("--model", type=NAMED, help="A timm name, a checkpoint, a folder, or package.module:function.")
@click.option("--data", type=PLACE, help="Labelled images.")
@click.option("--target", help="The device and runtime, such as onnxruntime:cpu or tensorrt_rtx:sm_86.")
@budget_option
@weights_option
@ema_option
def command(
    path: Path,
    model: str | None,
    data: Path | None,
    target: str | None,
    budget: str | None,
    weights: Path | None,
    ema: bool | None,
) -> None:
    """Writes a recipe with a comment above every key: PATH, by default recipe.yaml. No file is overwritten.

    What is not given as an option is asked for.

    Example: secateur init half.yaml --model resnet18 --data images --target onnxruntime:cpu --budget macs=0.5
    """
    from secateur.core.errors import RecipeError
    from secateur.core.files import write_text
    from secateur.pipeline.runs.first_recipe import commented, first_recipe
    from secateur.pipeline.runs.model_word import spec_of_word

    if path.exists():
        raise RecipeError(f"{path} exists already, and is not overwritten: give another PATH, or remove it first")
    given = {"model": model, "data": str(data) if data else None, "target": target, "budget": budget}
    said = _asked(given)
    spec = spec_of_word(said["model"], str(weights) if weights else None, ema)
    content = first_recipe(spec, said["data"], said["budget"], [said["target"]])
    write_text(path, commented(content, path.name))
    echo(f"{path} is written: start with `secateur run {path}`")


def _asked(given: dict[str, str | None]) -> dict[str, str]:
    """What is given, and the answers to what is not; raises a usage error where nobody can answer."""
    missing = [key for key, value in given.items() if value is None]
    if missing and not sys.stdin.isatty():
        words = ", ".join(f"--{key}" for key in missing)
        raise click.UsageError(f"{words} must be given where there is no terminal to ask in")
    return {
        key: click.prompt(QUESTIONS[key], default=USUAL.get(key)) if value is None else value
        for key, value in given.items()
    }
