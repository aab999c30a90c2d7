"""Pruning and precision under one budget, beside int8 alone and pruning followed by int8.

`python -m secateur_studies.joint_plans --data DATA --work WORK` plans trained models for the bit-operations, and for
the latency on one CPU thread, of int8 alone (where that is slower: of fp32), and for less (latencies are measured only
where they are budgeted, and such runs stand apart in the file); every plan is repaired in
closed form and not trained, exported, quantised by the same settings, judged in ONNX Runtime on the same held-out
images and timed in turns with the fp32 graph. Both ways to prune first use the same curves of the same objective as the
joint plan, with the MACs that make the graph in int8 as cheap as the budget, by the same count or latency table; with
`ends`, the first and the last product are in int8 too. What is measured for plans stays in WORK, and graphs that the
file has from the same command are not made again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray
from secateur_studies.eight_bits import counted, loss, paired, predictions, timed
from secateur_studies.trained_models import Trained, halved, open_trained

from secateur.benchmarks.environment import environment
from secateur.core.errors import PlanError
from secateur.core.files import read_json, write_json
from secateur.export.graph_types import bit_ops, declared_precisions, read_graph
from secateur.export.quantize.graph_edit import read_program
from secateur.export.quantize.placement import ENDS, place
from secateur.export.quantize.product_macs import product_macs
from secateur.export.quantize.quantize import quantize_onnx
from secateur.export.quantize.spec import Quantization
from secateur.export.to_onnx import export_onnx
from secateur.pipeline.analysis.product_losses import product_losses, wide_products
from secateur.pipeline.plan.allocation import DEFAULT_KINDS, Instruments
from secateur.pipeline.plan.budget import Budget
from secateur.pipeline.plan.graph_terms import terms_of_graph
from secateur.pipeline.plan.latency_profile import profile
from secateur.pipeline.plan.latency_table import LatencyTable
from secateur.pipeline.plan.make import make_plan
from secateur.pipeline.plan.objective import divergence, remembered
from secateur.pipeline.recover.compensate import compensate
from secateur.pipeline.recover.fast_repair import FastRepair
from secateur.pipeline.scores.score import Scores, score
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Groups, Kept
from secateur.pipeline.structure.plan import Plan
from secateur.pipeline.structure.surgery import prune

TARGET = "onnxruntime:cpu"
JUDGED = 64
"""Calibration images that plans are measured on."""
ALIGN = 4
LEAST = 16
"""Units of a group that stay in every plan: products of fewer are not in int8."""
RULE = Quantization(rule="mse", rest="fp32", runtime="onnxruntime")
SECONDS = 1.0
"""How long each width and each family of operations is timed for the latency table."""
ROUNDS = 8
"""Halvings of the MACs for which the pruned graph in int8 meets a budget."""
MEASURES = ("bit_ops", "latency")
INNER, EVERY = "int8", "int8, ends"
"""The dense graph in int8, with the first and the last product wide, and without any."""
SAY = partial(click.echo, err=True)
Made = tuple[Plan | None, Quantization | None]


@dataclass(frozen=True)
class Subject:
    """A trained model with all that its plans are made of; `outer` are the terms of the first and the last product."""

    groups: Groups
    scores: Scores
    instruments: Instruments
    table: LatencyTable | None
    outer: frozenset[str]
    task: Trained

    def narrow(self, ends: bool) -> dict[str, str]:
        """The precisions of a graph in int8."""
        losses = self.instruments.precision_losses or {}
        return {name: "int8" for name in losses if ends or name not in self.outer}

    def costs(self, kept: Kept, precisions: Mapping[str, str]) -> dict[str, float]:
        """What a plan costs: its share of the dense model's bit-operations in fp32, and milliseconds by the table."""
        operations = Budget(bit_ops=0.5).cost(self.groups, kept, [], None, precisions)
        costs = {"bit_ops": operations / bit_ops(self.groups.macs(), "fp32")}
        if self.table is not None:
            costs["latency"] = Budget(latency=0.5, target=TARGET).cost(self.groups, kept, [], self.table, precisions)
        return costs


@dataclass(frozen=True)
class Job:
    """A graph to make and judge: by which way, for which budget, and how; None where no plan meets the budget."""

    way: str
    measure: str
    budget: float
    make: Callable[[], Made | None]

    def done(self, row: Mapping[str, Any]) -> bool:
        """Whether a row is of this graph."""
        apart = abs(float(row["budget"]) - self.budget)
        return row["way"] == self.way and row["measure"] == self.measure and apart < 1e-9


@click.command()
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--work", type=click.Path(path_type=Path), required=True, help="Where to keep what plans are made by.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("benchmarks/results/joint_plans.json"))
@click.option("--models", default="cifar10_resnet56,deit_tiny_patch16_224", show_default=True)
@click.option("--images", default=64, show_default=True, help="Calibration images of the quantisation.")
@click.option("--held-out", default=3000, show_default=True, help="Images that are counted, where there are so many.")
@click.option("--shares", default="0.85,0.7,1", show_default=True, help="Budgets, as shares of what int8 alone costs.")
@click.option("--measures", default=",".join(MEASURES), show_default=True, help="What is budgeted.")
@click.option("--from-half", is_flag=True, help="Halve the models first: the small ones are the dense models then.")
def main(
    data: Path,
    work: Path,
    out: Path,
    models: str,
    images: int,
    held_out: int,
    shares: str,
    measures: str,
    from_half: bool,
) -> None:
    """Plans, quantises and counts, and writes what is known after each graph; other models in the file stay."""
    torch.set_num_threads(1)
    content = read_json(out, "joint_plans") if out.is_file() else {"runs": {}}
    for name in models.split(","):
        command = f"python -m secateur_studies.joint_plans --data DATA --work WORK --models {name} --images {images} "
        command += f"--held-out {held_out} --shares {shares} --measures {measures}"
        command += " --from-half" if from_half else ""
        run: dict[str, Any] = {"command": command, "environment": asdict(environment(1))}
        run |= {"images": images, "held_out": held_out, "runtime": RULE.runtime}
        subject_name = f"{name}, half" if from_half else name
        title = subject_name if measures == ",".join(MEASURES) else f"{subject_name} by {measures}"
        before = content["runs"].get(title, {})
        run["graphs"] = before["graphs"] if all(before.get(key) == run[key] for key in run) else []
        content["runs"][title] = run
        task, folder = open_trained(name, data, images, held_out), work / subject_name
        folder.mkdir(parents=True, exist_ok=True)
        if from_half:
            task = replace(task, model=halved(task))
        subject = opened(task, folder, "latency" in measures.split(","))
        labels, wide = predictions(folder / "dense.onnx", task.evaluation)
        for job in jobs(subject, [float(share) for share in shares.split(",")], measures.split(",")):
            if any(job.done(row) for row in run["graphs"]):
                continue
            if (row := judged(subject, job, folder / "dense.onnx", labels, wide)) is None:
                click.echo(f"{name}: no plan for {job.way} at {job.measure} {job.budget:.4g}", err=True)
                continue
            run["graphs"].append(row)
            click.echo(
                f"{name}: {row['way']} at {row['measure']} {row['budget']:.4g}: top-1 {row['top1']:.2f}", err=True
            )
            write_json(out, "joint_plans", {"runs": content["runs"]})
        for joint, row, more, around in apart(content, title):
            click.echo(
                f"{title}, {joint['measure']} {joint['budget']:.4g}: joint has {more:+.2f} ± {around:.2f} points to "
                f"{row['way']}",
                err=True,
            )


def jobs(subject: Subject, shares: list[float], measures: list[str]) -> Iterator[Job]:
    """The graphs of the comparison: the dense ones first, then for each budget every way."""
    groups, scores = subject.groups, subject.scores
    yield Job("fp32", "", 1.0, lambda: (None, None))
    for way in (INNER, EVERY):
        yield Job(way, "", 1.0, lambda way=way: (None, replace(RULE, ends=way == EVERY)))  # type: ignore[misc]
    whole = {ends: subject.costs({}, subject.narrow(ends)) for ends in (False, True)}

    def joint(budget: Budget) -> Made:
        found = make_plan(groups, scores, budget, "joint", subject.instruments, align=ALIGN, least=LEAST)
        return found, replace(RULE, ends=True)

    def first(measure: str, budget: float, ends: bool) -> Made | None:
        plan = pruned_to(subject, measure, budget, ends)
        return None if plan is None else (plan, replace(RULE, ends=ends))

    dense = subject.costs({}, {})
    for measure in measures:
        for share in shares:
            limit = share * min(whole[False][measure], dense[measure])  # int8 is no faster everywhere
            if limit >= dense[measure]:
                continue
            yield Job("joint", measure, limit, partial(joint, budget_of(measure, limit)))
            for ends in (False, True):
                if limit < whole[ends][measure] * (1 - 1e-6):
                    way = f"pruned, then {EVERY if ends else INNER}"
                    yield Job(way, measure, limit, partial(first, measure, limit, ends))


def budget_of(measure: str, limit: float) -> Budget:
    """The budget of so many bit-operations, as a share, or milliseconds."""
    return Budget(bit_ops=limit) if measure == "bit_ops" else Budget(latency=f"{limit:.9f}ms", target=TARGET)


def opened(task: Trained, folder: Path, times: bool) -> Subject:
    """The model with the measured losses of its units and bits, and its latencies if asked, which the folder keeps."""
    identity = f"{folder.name} {len(list(task.calibration))}"
    groups = find_groups(task.model, torch.zeros(1, *task.shape))
    scores = score(task.model, groups, task.repairs, method="taylor")
    images, labels = (torch.cat(parts)[:JUDGED] for parts in zip(*task.calibration, strict=True))
    few = [(images, labels)]

    def repaired() -> Callable[[Kept], float]:
        return divergence(task.model, groups, few, FastRepair(task.model, groups, DEFAULT_KINDS, task.repairs))

    objective = remembered(repaired, folder / "judged.json", identity)
    program = read_program(export_onnx(task.model, folder / "dense.onnx", input_shape=task.shape).path)
    terms = terms_of_graph(program, [{str(program.graph.inputs[0].name): images[:1].numpy()}], groups, {})
    outer = frozenset(terms[node] for node, reason in place(program).kept.items() if reason == ENDS)
    trials, options = folder / "losses.json", replace(RULE, ends=True)
    losses = product_losses(
        task.model, groups, task.calibration, few, options=options, trials=trials, source=identity, say=SAY
    )
    table = latencies(task, groups, folder / "latency.json") if times else None
    instruments = Instruments(objective=objective, precision_losses=losses, latencies=table)
    return Subject(groups, scores, instruments, table, outer, task)


def latencies(task: Trained, groups: Groups, path: Path) -> LatencyTable:
    """The milliseconds of each product by its units and its bits, measured unless the file has them."""
    if not path.is_file():
        profile(
            *(task.model, groups, TARGET, DEFAULT_KINDS),
            align=ALIGN,
            seconds=SECONDS,
            threads=1,
            say=SAY,
            precisions=("int8",),
            calibration=task.few,
            options=RULE,
        ).save(path)
    return LatencyTable.load(path)


def pruned_to(subject: Subject, measure: str, budget: float, ends: bool) -> Plan | None:
    """The plan by MACs, of the same curves, whose graph in int8 costs no more than the budget; None for none."""
    groups, low, high, best = subject.groups, 0.0, 1.0, None
    for _ in range(ROUNDS):
        macs = Budget(macs=(low + high) / 2)
        try:
            plan = make_plan(groups, subject.scores, macs, "sensitivity", subject.instruments, align=ALIGN, least=LEAST)
        except PlanError:  # so few MACs cannot be reached
            low = (low + high) / 2
            continue
        if subject.costs(plan.kept, subject.narrow(ends))[measure] <= budget:
            low, best = (low + high) / 2, plan
        else:
            high = (low + high) / 2
    return best


def judged(subject: Subject, job: Job, dense: Path, labels: NDArray[Any], wide: NDArray[Any]) -> dict[str, Any] | None:
    """What a job's graph costs, takes and classifies right, beside the dense one; None where there is no plan."""
    task, groups = subject.task, subject.groups
    if (chosen := job.make()) is None:
        return None
    plan, options = chosen
    kept: Kept = plan.kept if plan is not None else {}
    precisions: Mapping[str, str] = {} if options is None else subject.narrow(options.ends)
    with TemporaryDirectory() as place_of_graphs:
        fp32, graph = Path(place_of_graphs) / "small.onnx", Path(place_of_graphs) / "int8.onnx"
        model = task.model
        if plan is not None and kept:
            model = compensate(prune(model, plan, groups), model, plan, task.repairs, groups=groups)
        export_onnx(model, fp32, input_shape=task.shape)
        if job.way == "joint" and plan is not None and plan.facts is not None and options is not None:
            precisions = plan.facts.precisions
            keep = wide_products(groups, plan, fp32, task.calibration)
            options = replace(options, keep=keep) if "int8" in precisions.values() else None
        if options is None:
            graph = fp32
        else:
            quantize_onnx(fp32, graph, task.calibration, options=options)
        right, given = predictions(graph, task.evaluation)
        return {
            "way": job.way,
            "measure": job.measure,
            "budget": job.budget,
            "costs": subject.costs(kept, precisions),
            "bit_ops": spent(graph, fp32, task) / bit_ops(groups.macs(), "fp32"),
            "macs": groups.macs(kept) / groups.macs(),
            **counted(graph, labels, given, wide),
            "surprise": surprises(given, right),
            **{key: _rounded(value) for key, value in timed(dense, graph).items()},
            "kept": {name: len(units) for name, units in kept.items()},
            "int8": sum(word == "int8" for word in declared_precisions(read_graph(graph)).values()),
        }


def surprises(logits: NDArray[Any], labels: NDArray[Any]) -> list[float]:
    """The cross-entropy of each image's label in nats, to five places."""
    losses = torch.nn.functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels), reduction="none")
    return [round(float(one), 5) for one in losses]


def _rounded(value: Any) -> Any:
    """Samples in milliseconds to 0.1 microseconds; all else as it is."""
    return value if isinstance(value, dict) else [round(float(sample), 4) for sample in value]


def spent(graph: Path, fp32: Path, task: Trained) -> float:
    """The bit-operations for one image of a graph in int8, made from the one at `fp32`."""
    program, declared = read_program(fp32), declared_precisions(read_graph(graph))
    images, _ = next(iter(task.calibration))
    macs = product_macs(program, [{str(program.graph.inputs[0].name): images[:1].numpy()}])
    return sum(bit_ops(count, declared[node]) for node, count in macs.items())


def apart(content: dict[str, Any], model: str) -> Iterator[tuple[dict[str, Any], dict[str, Any], float, float]]:
    """For each budget the joint plan's row and every other way's, by how many points of top-1 the first is better, and
    half of the 95 % interval of that paired difference. Int8 alone is compared where it costs no more than the budget.
    """
    graphs = content["runs"][model]["graphs"]
    for joint in (row for row in graphs if row["way"] == "joint"):
        measure, budget = joint["measure"], joint["budget"]
        for row in graphs:
            alone = row["way"] in (INNER, EVERY) and row["costs"].get(measure, float("inf")) <= budget * (1 + 1e-9)
            same = row["way"].startswith("pruned") and row["measure"] == measure and abs(row["budget"] - budget) < 1e-9
            if alone or same:
                yield joint, row, *loss(joint, row)


def clearer(joint: dict[str, Any], row: dict[str, Any]) -> str:
    """By how much less the labels surprise the joint plan's graph, in nats with half of the 95 % interval of the paired
    difference; nothing where that was not measured.
    """
    if "surprise" not in joint or "surprise" not in row:
        return ""
    less, around = paired(row["surprise"], joint["surprise"])
    return f"{less:+.3f} ± {around:.3f}"


def table_of(content: dict[str, Any]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The head and the rows of the table: a graph a row, those of a model and a budget together."""
    more_head = "joint at this budget has, points"
    head = ("graph", "budget", "bit-operations", "MACs", "top-1", "error", "cross-entropy", more_head, "nats less")
    lines: list[tuple[str, ...]] = []
    for model, run in content["runs"].items():
        against: dict[int, list[tuple[str, str]]] = {}
        for joint, row, more, around in apart(content, model):
            against.setdefault(id(row), []).append((f"{more:+.2f} ± {around:.2f}", clearer(joint, row)))
        for row in sorted(run["graphs"], key=lambda row: (row["measure"], -float(row["budget"]))):
            budget = {
                "": "",
                "bit_ops": f"{row['budget']:.2%} of bit-operations",
                "latency": f"{row['budget']:.2f} ms by the table",
            }[row["measure"]]
            lines.append(
                (
                    f"{model}: {row['way']}",
                    budget,
                    f"{row['bit_ops']:.2%}",
                    f"{row['macs']:.1%}",
                    f"{row['top1']:.2f}",
                    f"{row['error']:.1%}",
                    f"{np.mean(row['surprise']):.3f}" if "surprise" in row else "",
                    ", ".join(points for points, _ in against.get(id(row), [])),
                    ", ".join(nats for _, nats in against.get(id(row), []) if nats),
                )
            )
    return head, lines


if __name__ == "__main__":
    main()
