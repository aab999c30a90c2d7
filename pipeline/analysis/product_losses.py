"""What a model's answers lose where one of its operations alone is in 8 bits."""

from __future__ import annotations

from collections.abc import Sequence
from glob import escape
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import nn

from secateur.core.say import Say
from secateur.export.graph_types import graph_tensors, read_graph
from secateur.export.precision import EIGHT_BITS
from secateur.export.quantize.graph_edit import read_program
from secateur.export.quantize.observe import feeds_of
from secateur.export.quantize.quantize import product_sensitivities
from secateur.export.quantize.spec import Quantization
from secateur.export.to_onnx import export_onnx
from secateur.pipeline.analysis.graph_judge import GraphJudge
from secateur.pipeline.data.loader import Batches
from secateur.pipeline.plan.graph_terms import terms_of_graph, terms_of_products
from secateur.pipeline.structure.groups import Groups
from secateur.pipeline.structure.plan import Plan
from secateur.pipeline.tasks.classify import Classify
from secateur.pipeline.tasks.task import Task


def product_losses(
    model: nn.Module,
    groups: Groups,
    calibration: Batches,
    images: Batches,
    task: Task | None = None,
    classes: Sequence[str] = (),
    options: Quantization | None = None,
    trials: Path | None = None,
    source: object = "",
    say: Say = lambda message: None,
) -> dict[str, float]:
    """The task's mean divergence on the images by the name of each term of `groups` that can be in int8.

    The same measure as `objective.divergence`, so that bits and units can be weighed. The graph is calibrated on
    `calibration`; `trials` is a file of what is measured, and `source` identifies the images for it. Raises what
    `product_sensitivities` does.
    """
    with TemporaryDirectory() as folder:
        fp32 = export_onnx(model, Path(folder) / "model.onnx", groups.inputs.draw()).path
        judge = GraphJudge(model, fp32, images, images, task or Classify(), classes, source)
        found = product_sensitivities(fp32, calibration, judge, options=options, trials=trials, say=say)
    macs, modules = ({one.node: getattr(one, name) for one in found} for name in ("macs", "module"))
    terms = terms_of_products(groups, {}, macs, modules)
    losses: dict[str, float] = {}
    for one in found:
        if one.divergence is not None:  # a term of several products costs what they cost together
            losses[terms[one.node]] = losses.get(terms[one.node], 0.0) + one.divergence
    return losses


def wide_products(groups: Groups, plan: Plan, path: Path, images: Batches) -> tuple[str, ...]:
    """The products of the graph at `path`, the small model's, that the plan has wide, as globs for `keep`."""
    program = read_program(path)
    takes = graph_tensors(read_graph(path))[0]
    terms = terms_of_graph(program, feeds_of(images, takes).judging(), groups, plan.kept)
    planned = plan.facts.precisions if plan.facts is not None else {}
    return tuple(escape(node) for node, term in terms.items() if planned.get(term) not in EIGHT_BITS)
