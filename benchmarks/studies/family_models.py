"""The second-smallest models of timm's families, as a list for the coverage study.

`python -m secateur_studies.family_models --rank 2 > models.txt` writes one name a line: of each module family of timm
that family's model of this rank by parameters. Models are made on torch's meta device, without memory for weights;
those that need packages beyond timm are left out, and a family of fewer models is too.
"""

from __future__ import annotations

import click


@click.command()
@click.option("--rank", default=1, show_default=True, type=click.IntRange(min=1), help="1 is the smallest model.")
@click.option("--family", multiple=True, help="These module families of timm only.")
def main(rank: int, family: tuple[str, ...]) -> None:
    """Writes one name for each family, in timm's order of families."""
    import timm

    for module in family or timm.list_modules():
        names = ranked(timm.list_models(module=module))
        if len(names) >= rank:
            click.echo(names[rank - 1])


def ranked(names: list[str]) -> list[str]:
    """The models that can be made here, the fewest parameters first; of several of one size timm's first alone."""
    import timm
    import torch

    sizes: dict[int, str] = {}
    for name in names:
        try:
            with torch.device("meta"):
                model = timm.create_model(name)
        except (ImportError, NotImplementedError) as error:
            click.echo(f"{name}: {error}", err=True)
            continue
        sizes.setdefault(sum(parameter.numel() for parameter in model.parameters()), name)
    return [sizes[size] for size in sorted(sizes)]


if __name__ == "__main__":
    main()
