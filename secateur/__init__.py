"""secateur: explanation-guided structural pruning of timm models, through ONNX to TensorRT.

The examples of all public names go on from this one, of a small vision transformer:

    >>> import torch
    >>> import secateur as sc
    >>> sizes = {"img_size": 16, "patch_size": 4, "embed_dim": 48, "depth": 2, "num_heads": 3, "num_classes": 5}
    >>> model = sc.create_model("vit_tiny_patch16_224", **sizes)
    >>> example = torch.zeros(1, 3, 16, 16)
    >>> loader = [(torch.randn(10, 3, 16, 16), torch.arange(10) % 5)]  # any iterable of images and labels
    >>> groups = sc.find_groups(model, example)
    >>> scores = sc.score(model, groups, loader)
    >>> plan = sc.make_plan(groups, scores, sc.Budget(macs=0.5))
    >>> small = sc.prune(model, plan, groups)  # a new nn.Module; the old one is untouched

The public names are imported when they are first used, so that `import secateur` is light.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from secateur.benchmarks.flops import count_macs as count_macs
    from secateur.core.errors import SecateurError as SecateurError
    from secateur.export.capabilities import examine as examine
    from secateur.export.engines import build_engine as build_engine
    from secateur.export.engines import open_engine as open_engine
    from secateur.export.parity import check_parity as check_parity
    from secateur.export.program import load_program as load_program
    from secateur.export.program import save_program as save_program
    from secateur.export.quantize.limit import Limit as Limit
    from secateur.export.quantize.quantize import quantize_onnx as quantize_onnx
    from secateur.export.quantize.spec import Quantization as Quantization
    from secateur.export.to_onnx import export_onnx as export_onnx
    from secateur.kernels.fuse import fuse as fuse
    from secateur.kernels.fuse import fusions as fusions
    from secateur.pipeline.analysis.accuracy import accuracy as accuracy
    from secateur.pipeline.analysis.fidelity import fidelity as fidelity
    from secateur.pipeline.analysis.graph_judge import GraphJudge as GraphJudge
    from secateur.pipeline.analysis.pruning_curve import curve as curve
    from secateur.pipeline.analysis.rule_search import search as search
    from secateur.pipeline.data.dataset import open_data as open_data
    from secateur.pipeline.data.loader import Loader as Loader
    from secateur.pipeline.models.create import create_model as create_model
    from secateur.pipeline.models.inputs import transform_for as transform_for
    from secateur.pipeline.plan.allocation import Allocation as Allocation
    from secateur.pipeline.plan.allocation import Instruments as Instruments
    from secateur.pipeline.plan.budget import Budget as Budget
    from secateur.pipeline.plan.evolution import Evolution as Evolution
    from secateur.pipeline.plan.knapsack import Knapsack as Knapsack
    from secateur.pipeline.plan.latency_profile import profile as profile
    from secateur.pipeline.plan.latency_table import LatencyTable as LatencyTable
    from secateur.pipeline.plan.make import make_plan as make_plan
    from secateur.pipeline.plan.mask_loss import mask_loss as mask_loss
    from secateur.pipeline.plan.objective import divergence as divergence
    from secateur.pipeline.plan.rounds import plan_in_rounds as plan_in_rounds
    from secateur.pipeline.plan.xpruner import Xpruner as Xpruner
    from secateur.pipeline.recover.compensate import compensate as compensate
    from secateur.pipeline.recover.distill import distill as distill
    from secateur.pipeline.recover.reconstruct import reconstruct as reconstruct
    from secateur.pipeline.recover.spec import Compensation as Compensation
    from secateur.pipeline.recover.spec import DistillSpec as DistillSpec
    from secateur.pipeline.recover.spec import ReconstructSpec as ReconstructSpec
    from secateur.pipeline.report.run import run as run
    from secateur.pipeline.runs.gate_run import gate as gate
    from secateur.pipeline.runs.measure import bench as bench
    from secateur.pipeline.runs.sweep import sweep as sweep
    from secateur.pipeline.scores.lrp.method import Lrp as Lrp
    from secateur.pipeline.scores.obs import Obs as Obs
    from secateur.pipeline.scores.registry import ScoreMethod as ScoreMethod
    from secateur.pipeline.scores.score import Scores as Scores
    from secateur.pipeline.scores.score import score as score
    from secateur.pipeline.scores.xmask.method import XMask as XMask
    from secateur.pipeline.structure.describe import describe as describe
    from secateur.pipeline.structure.find import find_fixed as find_fixed
    from secateur.pipeline.structure.find import find_groups as find_groups
    from secateur.pipeline.structure.groups import Groups as Groups
    from secateur.pipeline.structure.layers import with_layers as with_layers
    from secateur.pipeline.structure.plan import Plan as Plan
    from secateur.pipeline.structure.storage import load as load
    from secateur.pipeline.structure.storage import save as save
    from secateur.pipeline.structure.surgery import prune as prune
    from secateur.pipeline.structure.surgery import verify as verify

from secateur.core.version import __version__

_HERE = Path(__file__).parent
if not (_HERE / "pipeline").exists():  # started in the checkout, where the package's folders lie beside this one
    __path__.append(str(_HERE.parent))

_PLACES = {
    "Allocation": "pipeline.plan.allocation",
    "Budget": "pipeline.plan.budget",
    "Compensation": "pipeline.recover.spec",
    "DistillSpec": "pipeline.recover.spec",
    "Evolution": "pipeline.plan.evolution",
    "GraphJudge": "pipeline.analysis.graph_judge",
    "Groups": "pipeline.structure.groups",
    "Instruments": "pipeline.plan.allocation",
    "Knapsack": "pipeline.plan.knapsack",
    "LatencyTable": "pipeline.plan.latency_table",
    "Limit": "export.quantize.limit",
    "Loader": "pipeline.data.loader",
    "Lrp": "pipeline.scores.lrp.method",
    "Obs": "pipeline.scores.obs",
    "Plan": "pipeline.structure.plan",
    "Quantization": "export.quantize.spec",
    "ReconstructSpec": "pipeline.recover.spec",
    "ScoreMethod": "pipeline.scores.registry",
    "Scores": "pipeline.scores.score",
    "SecateurError": "core.errors",
    "XMask": "pipeline.scores.xmask.method",
    "Xpruner": "pipeline.plan.xpruner",
    "accuracy": "pipeline.analysis.accuracy",
    "bench": "pipeline.runs.measure",
    "build_engine": "export.engines",
    "check_parity": "export.parity",
    "compensate": "pipeline.recover.compensate",
    "count_macs": "benchmarks.flops",
    "create_model": "pipeline.models.create",
    "curve": "pipeline.analysis.pruning_curve",
    "describe": "pipeline.structure.describe",
    "distill": "pipeline.recover.distill",
    "divergence": "pipeline.plan.objective",
    "examine": "export.capabilities",
    "export_onnx": "export.to_onnx",
    "fidelity": "pipeline.analysis.fidelity",
    "find_fixed": "pipeline.structure.find",
    "find_groups": "pipeline.structure.find",
    "fuse": "kernels.fuse",
    "fusions": "kernels.fuse",
    "gate": "pipeline.runs.gate_run",
    "load": "pipeline.structure.storage",
    "load_program": "export.program",
    "make_plan": "pipeline.plan.make",
    "mask_loss": "pipeline.plan.mask_loss",
    "open_data": "pipeline.data.dataset",
    "open_engine": "export.engines",
    "plan_in_rounds": "pipeline.plan.rounds",
    "profile": "pipeline.plan.latency_profile",
    "prune": "pipeline.structure.surgery",
    "quantize_onnx": "export.quantize.quantize",
    "reconstruct": "pipeline.recover.reconstruct",
    "run": "pipeline.report.run",
    "save": "pipeline.structure.storage",
    "save_program": "export.program",
    "score": "pipeline.scores.score",
    "search": "pipeline.analysis.rule_search",
    "sweep": "pipeline.runs.sweep",
    "transform_for": "pipeline.models.inputs",
    "verify": "pipeline.structure.surgery",
    "with_layers": "pipeline.structure.layers",
}
__all__ = ["__version__", *_PLACES]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'secateur' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"secateur.{_PLACES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
