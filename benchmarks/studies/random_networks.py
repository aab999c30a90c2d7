"""Random networks of what people write, pruned at random: every one is proven, or refused in a sentence.

`python -m secateur_studies.random_networks --count 2000` makes networks of `random_pieces`, removes a random number of
units of every group, and asks of what is left: does it compute what the masked dense network computes, also for another
number and another size of images; does it train where the dense network does? Each network ends as `proven`, `refused`
(one of secateur's own errors), `wrong`, or `raised` (any other error, which no user should see). Networks are drawn one
by one from their number, so that each can be made again with `--only`.
"""

from __future__ import annotations

import random
import time
import warnings
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from secateur.core.files import read_json, write_json

TOLERANCE = 1e-3
"""Relative to the scale of the outputs, for weights as they are, which may amplify rounding."""
EVERY = 50


@click.command()
@click.option("--count", default=2000, show_default=True, help="How many networks.")
@click.option("--first", default=0, show_default=True, help="The number of the first.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("benchmarks/results/random_networks.json"))
@click.option("--only", type=int, multiple=True, help="These networks, told on the screen and not written.")
def main(count: int, first: int, out: Path, only: tuple[int, ...]) -> None:
    """Makes, prunes and checks networks, and writes what became of each; goes on where it stopped."""
    import torch

    from secateur.benchmarks.environment import environment

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    if only:
        for number in only:
            click.echo(f"{number}: {examined(number)}")
        return
    rows: dict[str, Any] = read_json(out, "random_networks")["rows"] if out.is_file() else {}
    commit = environment().git_commit
    for number in range(first, first + count):
        if str(number) in rows:
            continue
        row = examined(number)
        rows[str(number)] = {**row, "commit": commit}
        if row["end"] in ("wrong", "raised"):
            click.echo(f"{number}: {row}", err=True)
        if number % EVERY == EVERY - 1 or number == first + count - 1:
            ends = Counter(row["end"] for row in rows.values())
            about = {
                "command": f"python -m secateur_studies.random_networks --count {count}",
                "environment": asdict(environment()),
                "ends": dict(ends),
            }
            write_json(out, "random_networks", {**about, "rows": rows})
            click.echo(f"{number + 1}: {dict(ends)}", err=True)


def examined(number: int) -> dict[str, Any]:
    """What became of the network of this number."""
    from secateur_studies.random_pieces import random_network

    from secateur.core.errors import SecateurError, SurgeryError

    draw = random.Random(number)
    model, example, words = random_network(draw)
    row: dict[str, Any] = {"network": words}
    started = time.perf_counter()
    try:
        row |= _pruned(model, example, draw)
    except SurgeryError as error:
        row |= {"end": "wrong", "why": str(error)[:300]}
    except SecateurError as error:
        row |= {"end": "refused", "why": str(error).replace(f"{Path(__file__).parent}/", "")[:300]}
    except Exception as error:  # the study counts what no user should see
        row |= {"end": "raised", "why": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
    return {**row, "seconds": round(time.perf_counter() - started, 2)}


def _pruned(model: Any, example: Any, draw: random.Random) -> dict[str, Any]:
    """Prunes a network at random, and compares it with the masked one in ways that the proof does not."""
    import torch
    from torch.utils._pytree import tree_map

    import secateur as sc
    from secateur.core.errors import SecateurError
    from secateur.core.model_inputs import call, tensors_in
    from secateur.pipeline.structure.masking import masked
    from secateur.pipeline.structure.outputs import relative_difference
    from secateur.pipeline.structure.plan import plan_from_kept

    groups = sc.find_groups(model, example)
    kept = {}
    for group in groups:
        width = group.units // group.blocks
        count = draw.randint(max(group.min_units, 1), width)
        kept[group.name] = [
            block * width + unit for block in range(group.blocks) for unit in sorted(draw.sample(range(width), count))
        ]
    plan = plan_from_kept(groups, kept)
    small, dense = sc.prune(model, plan, groups), masked(model, groups, plan)
    found: dict[str, Any] = {"end": "proven", "groups": len(groups), "fixed": len(groups.fixed)}
    found["adapted"] = len(groups.adapted)
    with torch.no_grad():
        whole = tensors_in(call(small, example))
    plain = all(axis.length(plan.kept) == axis.size for axis in groups.norms.values())
    for words, change in (
        ("one image", lambda x: x[:1]),
        ("five images", lambda x: torch.cat([x, x, x[:1]])),
        ("larger images", lambda x: torch.nn.functional.interpolate(x, size=(8, 8))),
    ):
        if not plain and words == "larger images":
            continue
        other = tree_map(change, example)
        with torch.no_grad():
            # zeros are no absence where something normalises over units: then other batches hold the same images
            expected = tensors_in(call(dense, other)) if plain else [change(output) for output in whole]
            try:
                given = tensors_in(call(small, other))
            except SecateurError as error:
                found.setdefault("sizes refused", f"{words}: {str(error)[:200]}")
                continue
        if not (difference := relative_difference(given, expected)) <= TOLERANCE:
            return {**found, "end": "wrong", "why": f"{words}: removed and masked differ by {difference:.1e}"}
    before, after = _trains(model, example), _trains(small, example)
    if before != after:
        return {**found, "end": "wrong", "why": f"in training the dense network {before}, the pruned one {after}"}
    return found


def _trains(model: Any, example: Any) -> str:
    """How a copy of a network does in one step of training."""
    from secateur.core.model_inputs import call, tensors_in
    from secateur.core.modules import copied

    try:
        twin = copied(model).train()
        sum(tensor.square().sum() for tensor in tensors_in(call(twin, example))).backward()  # type: ignore[union-attr]
    except Exception as error:  # compared with the same of the other network
        return f"raises {type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return "has gradients" if any(p.grad is not None for p in twin.parameters()) else "has no gradient"


if __name__ == "__main__":
    main()
