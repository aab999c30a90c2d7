"""Pruning and precision under one budget of bit-operations, beside int8 alone and pruning followed by int8.

`python -m secateur_studies.joint_plans --data DATA` plans trained models for the bit-operations of int8 alone, and for
fewer; every plan is repaired in closed form and not trained, exported, quantised by the same settings and judged in
ONNX Runtime on the same held-out images. Both ways to prune first use the same curves of the same objective as the
joint plan, with the MACs that make the graph in int8 as cheap as the budget; with `ends`, the first and the last
product are in int8 too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import torch
from secateur_studies.eight_bits import counted, loss, predictions
from secateur_studies.trained_models import Trained, open_trained

from secateur.benchmarks.environment import environment
from secateur.core.errors import PlanError
from secateur.core.files import read_json, sha256_json, write_json
from secateur.export.graph_types import bit_ops, declared_precisions, read_graph
from secateur.export.quantize.graph_edit import read_program
from secateur.export.quantize.placement import ENDS, place
from secateur.export.quantize.product_macs import product_macs
from secateur.export.quantize.quantize import quantize_onnx
from secateur.export.quantize.spec import Quantization
from secateur.export.to_onnx import export_onnx
from secateur.pipeline.analysis.product_losses import product_losses, wide_products
from secateur.pipeline.plan.allocation import DEFAULT_KINDS, Instruments, Objective
from secateur.pipeline.plan.budget import Budget
from secateur.pipeline.plan.graph_terms import terms_of_products
from secateur.pipeline.plan.make import make_plan
from secateur.pipeline.plan.objective import divergence
from secateur.pipeline.recover.compensate import compensate
from secateur.pipeline.recover.fast_repair import FastRepair
from secateur.pipeline.scores.score import Scores, score
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Groups, Kept
from secateur.pipeline.structure.plan import Plan
from secateur.pipeline.structure.surgery import prune

JUDGED = 64
"""Calibration images that plans are measured on."""
SHARES = (0.85, 0.7, 1.0)
"""The budgets, as shares of the bit-operations of int8 alone."""
ALIGN = 4
LEAST = 16
"""Units of a group that stay in every plan: products of fewer are not in int8."""
RULE = Quantization(rule="mse", rest="fp32")
ROUNDS = 8
"""Halvings of the MACs for which the pruned graph in int8 meets a budget."""


@dataclass(frozen=True)
class Subject:
    """A trained model with all that its plans are made of; `outer` are the terms of the first and the last product."""

    groups: Groups
    scores: Scores
    instruments: Instruments
    outer: frozenset[str]
    task: Trained

    @property
    def whole(self) -> float:
        """The bit-operations of the dense model in fp32."""
        return bit_ops(self.groups.macs(), "fp32")


@click.command()
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("benchmarks/results/joint_plans.json"))
@click.option("--models", default="cifar10_resnet56,deit_tiny_patch16_224", show_default=True)
@click.option("--images", default=128, show_default=True, help="Calibration images of the quantisation.")
@click.option("--held-out", default=3000, show_default=True, help="Images that are counted, where there are so many.")
def main(data: Path, out: Path, models: str, images: int, held_out: int) -> None:
    """Plans, quantises and counts, and writes what is known after each graph; other models in the file stay."""
    torch.set_num_threads(1)
    content = read_json(out, "joint_plans") if out.is_file() else {"runs": {}}
    for name in models.split(","):
        run: dict[str, Any] = {
            "command": f"python -m secateur_studies.joint_plans --data DATA --models {name} --images {images} "
            f"--held-out {held_out}",
            "environment": asdict(environment(1)),
            "images": images,
            "held_out": held_out,
            "graphs": [],
        }
        content["runs"][name] = run
        for row in rows(open_trained(name, data, images, held_out)):
            run["graphs"].append(row)
            click.echo(f"{name}: {row['way']} at {row['bit_ops']:.4f}: top-1 {row['top1']:.2f}", err=True)
            write_json(out, "joint_plans", {"runs": content["runs"]})
        for budget, way, more, around in apart(content, name):
            click.echo(f"{name}, budget {budget:.4f}: joint has {more:+.2f} ± {around:.2f} points to {way}", err=True)


def rows(task: Trained) -> Iterator[dict[str, Any]]:
    """What each plan's graph costs and classifies right: the dense graphs first, then for each budget every way."""
    with TemporaryDirectory() as place_of_graphs:
        folder = Path(place_of_graphs)
        subject = opened(task, folder)
        labels, wide = predictions(folder / "dense.onnx", task.evaluation)
        yield {
            "way": "fp32",
            "budget": 1.0,
            "bit_ops": 1.0,
            "macs": 1.0,
            **counted(folder / "dense.onnx", labels, wide, wide),
        }

        def judged(way: str, budget: float, plan: Plan | None, options: Quantization | None) -> dict[str, Any]:
            graph = made(subject, plan, options, folder)
            answers = predictions(graph, task.evaluation)[1]
            kept: Kept = plan.kept if plan is not None else {}
            return {
                "way": way,
                "budget": budget,
                "bit_ops": spent(graph, folder / "small.onnx", task) / subject.whole,
                "macs": subject.groups.macs(kept) / subject.groups.macs(),
                **counted(graph, labels, answers, wide),
                "kept": {name: len(units) for name, units in kept.items()},
                "int8": sum(word == "int8" for word in declared_precisions(read_graph(graph)).values()),
            }

        inner, ends = (
            judged("int8", 0.0, None, RULE),
            judged("int8, ends", 0.0, None, replace(RULE, ends=True)),
        )
        for row in (inner, ends):
            yield {**row, "budget": row["bit_ops"]}
        for share in SHARES:
            budget = share * inner["bit_ops"]
            plan = make_plan(
                subject.groups,
                subject.scores,
                Budget(bit_ops=budget),
                "joint",
                subject.instruments,
                align=ALIGN,
                least=LEAST,
            )
            yield judged("joint", budget, plan, None)
            for way, row in (("pruned, then int8", inner), ("pruned, then int8, ends", ends)):
                if budget < row["bit_ops"] * (1 - 1e-6):
                    options = replace(RULE, ends=row is ends)
                    pruned = pruned_to(subject, budget, options.ends)
                    if pruned is not None:
                        yield judged(way, budget, pruned, options)


def opened(task: Trained, folder: Path) -> Subject:
    """The model with the measured losses of its units and bits; its graph is `dense.onnx` in the folder."""
    groups = find_groups(task.model, torch.zeros(1, *task.shape))
    scores = score(task.model, groups, task.repairs, method="taylor")
    images, labels = (torch.cat(parts)[:JUDGED] for parts in zip(*task.calibration, strict=True))
    few = [(images, labels)]
    small = FastRepair(task.model, groups, DEFAULT_KINDS, task.repairs)
    objective = once(divergence(task.model, groups, few, small))
    program = read_program(export_onnx(task.model, folder / "dense.onnx", input_shape=task.shape).path)
    macs = product_macs(program, [{str(program.graph.inputs[0].name): images[:1].numpy()}])
    modules = {str(node.name): node.metadata_props.get("module", "") for node in program.graph}
    terms = terms_of_products(groups, {}, macs, modules)
    outer = frozenset(terms[node] for node, reason in place(program).kept.items() if reason == ENDS)
    options, say = replace(RULE, ends=True), partial(click.echo, err=True)
    losses = product_losses(task.model, groups, task.calibration, few, options=options, say=say)
    return Subject(groups, scores, Instruments(objective=objective, precision_losses=losses), outer, task)


def once(objective: Objective) -> Objective:
    """The objective, which measures no choice twice."""
    known: dict[str, float] = {}

    def remembering(kept: Kept) -> float:
        key = sha256_json({name: list(units) for name, units in kept.items()})
        if key not in known:
            known[key] = objective(kept)
        return known[key]

    return remembering


def pruned_to(subject: Subject, budget: float, ends: bool) -> Plan | None:
    """The plan by MACs, of the same curves, whose graph in int8 has the bit-operations of the budget; None for none."""
    losses = subject.instruments.precision_losses or {}
    narrow = {name: "int8" for name in losses if ends or name not in subject.outer}
    groups, low, high, best = subject.groups, 0.0, 1.0, None
    for _ in range(ROUNDS):
        macs = Budget(macs=(low + high) / 2)
        try:
            plan = make_plan(groups, subject.scores, macs, "sensitivity", subject.instruments, align=ALIGN, least=LEAST)
        except PlanError:  # so few MACs cannot be reached
            low = (low + high) / 2
            continue
        if Budget(bit_ops=0.5).cost(groups, plan.kept, [], None, narrow) <= budget * subject.whole:
            low, best = (low + high) / 2, plan
        else:
            high = (low + high) / 2
    if best is None:
        click.echo(f"no plan by MACs meets the budget {budget:g}{', ends' * ends}", err=True)
    return best


def made(subject: Subject, plan: Plan | None, options: Quantization | None, folder: Path) -> Path:
    """The graph in int8 of the planned and repaired model; without options, in the precisions of the plan."""
    task, groups = subject.task, subject.groups
    model = task.model
    if plan is not None and plan.kept:
        model = compensate(prune(model, plan, groups), model, plan, task.repairs, groups=groups)
    fp32 = export_onnx(model, folder / "small.onnx", input_shape=task.shape).path
    if options is None and plan is not None:
        options = replace(RULE, ends=True, keep=wide_products(groups, plan, fp32, task.calibration))
    return quantize_onnx(fp32, folder / "int8.onnx", task.calibration, options=options)[0].path


def spent(graph: Path, fp32: Path, task: Trained) -> float:
    """The bit-operations for one image of a graph in int8, made from the one at `fp32`."""
    program, declared = read_program(fp32), declared_precisions(read_graph(graph))
    images, _ = next(iter(task.calibration))
    macs = product_macs(program, [{str(program.graph.inputs[0].name): images[:1].numpy()}])
    return sum(bit_ops(count, declared[node]) for node, count in macs.items())


def apart(content: dict[str, Any], model: str) -> Iterator[tuple[float, str, float, float]]:
    """For each budget and other way, by how many points of top-1 the joint plan is better, and half of the 95 %
    interval of that paired difference.
    """
    graphs = content["runs"][model]["graphs"]
    for joint in (row for row in graphs if row["way"] == "joint"):
        for row in graphs:
            if row["way"] not in ("joint", "fp32") and abs(row["budget"] - joint["budget"]) < 1e-9:
                yield joint["budget"], row["way"], *loss(joint, row)


def table_of(content: dict[str, Any]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The head and the rows of the table: a graph a row, those of a model together in the order of their budgets."""
    head = ("graph", "bit-operations", "MACs", "top-1", "joint at this budget has, points")
    lines: list[tuple[str, ...]] = []
    for model, run in content["runs"].items():
        against = {(budget, way): (more, around) for budget, way, more, around in apart(content, model)}
        for row in sorted(run["graphs"], key=lambda row: -float(row["budget"])):
            found = against.get((row["budget"], row["way"]))
            lines.append(
                (
                    f"{model}: {row['way']}",
                    f"{row['bit_ops']:.2%}",
                    f"{row['macs']:.1%}",
                    f"{row['top1']:.2f}",
                    f"{found[0]:+.2f} ± {found[1]:.2f}" if found else "",
                )
            )
    return head, lines


if __name__ == "__main__":
    main()
