"""Agreement of our relevance with two independent implementations: zennit for CNNs, LXT for attention.

`python -m secateur_studies.lrp_agreement` explains seeded random networks of torchvision with both sides and
writes the differences as a table. Zennit and LXT serve here only, and must be installed by hand.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from importlib import import_module, metadata
from itertools import chain
from pathlib import Path
from typing import Any

import click
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.core.errors import BenchError
from secateur.core.files import write_json
from secateur.pipeline.scores.lrp.composite import DEPTHS, find_composite
from secateur.pipeline.scores.lrp.relevance import IMAGES, relevances

TOLERANCE = 1e-5
"""Of the largest relevance, in float64; what is left are stabilisers at different places."""
EXACT = 1e-15
"""A stabiliser that does not count: our sums, pools and products have none, and LXT's has no sign."""


@dataclass(frozen=True)
class Row:
    """One comparison: the largest difference of the images' relevance, by its largest value, and the cosine."""

    library: str
    version: str
    model: str
    rule: str
    images: int
    largest_difference: float
    cosine: float
    agrees: bool


def row(library: str, model: str, rule: str, ours: Tensor, theirs: Tensor) -> Row:
    """The comparison of two relevance maps `[B, ...]`."""
    difference = float((ours - theirs).abs().max() / theirs.abs().max())
    cosine = float(F.cosine_similarity(ours.flatten(1), theirs.flatten(1)).min())
    version = metadata.version(library)
    return Row(library, version, model, rule, len(ours), difference, cosine, difference <= TOLERANCE)


def needed(module: str, package: str) -> Any:
    """An imported module of a comparison library; raises `BenchError` with what to do when it is absent."""
    try:
        return import_module(module)
    except ImportError as error:
        raise BenchError(
            f"this comparison needs the package {package!r}, which secateur does not depend on ({error}): "
            f"install it into an environment of your own with `pip install {package}`"
        ) from error


def ours(model: nn.Module, x: Tensor, rules: dict[str, Any]) -> Tensor:
    """Our relevance of the images, for the predicted class."""
    labels = torch.zeros(len(x), dtype=torch.long)
    (found,) = relevances(model, [(x, labels)], (IMAGES,), find_composite(rules), "predicted")
    return found.images


def randomised(model: nn.Module) -> nn.Module:
    """The model with BatchNorm statistics, parameters and biases that are not those of a fresh one."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None and module.running_var is not None:
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.3, 1.5)
            module.eps = 0.0  # zennit merges a BatchNorm, and leaves its eps behind: both sides would differ by it
        bias = getattr(module, "bias", None)
        if isinstance(bias, Tensor):
            nn.init.normal_(bias, std=0.05)
        if isinstance(module, nn.Linear) and not module.weight.any():
            nn.init.normal_(module.weight, std=0.05)
    return model.eval()


def zennit_rows(x: Tensor) -> Iterator[Row]:
    """Torchvision's VGG and ResNets, one rule in all layers, BatchNorm merged by both sides."""
    models = import_module("torchvision.models")
    rules, composites, types = (needed(f"zennit.{part}", "zennit") for part in ("rules", "composites", "types"))
    vision, core, attribution = (needed(f"zennit.{part}", "zennit") for part in ("torchvision", "layer", "attribution"))
    choices: dict[str, Callable[[], Any]] = {
        "epsilon": lambda: rules.Epsilon(1e-6),
        "gamma": lambda: rules.Gamma(0.25),
        "z_plus": rules.ZPlus,
        "alpha_beta": lambda: rules.AlphaBeta(2, 1),
    }
    for name, canonizer in (
        ("vgg11_bn", vision.VGGCanonizer),
        ("resnet18", vision.ResNetCanonizer),
        ("resnet50", vision.ResNetCanonizer),
    ):
        torch.manual_seed(0)
        model = randomised(getattr(models, name)(num_classes=10)).double().requires_grad_(False)
        for rule, theirs in choices.items():
            layers = [
                *((types.Activation, rules.Pass()), (core.Sum, rules.Norm(EXACT)), (types.AvgPool, rules.Norm(EXACT))),
                *((types.Convolution, theirs()), (types.Linear, theirs())),
            ]
            composite = composites.LayerMapComposite(layer_map=layers, canonizers=[canonizer()])
            twin = copy.deepcopy(model)
            best = model(x).argmax(1)
            with attribution.Gradient(
                twin, composite, lambda logits, best=best: logits * F.one_hot(best, logits.shape[1])
            ) as attributor:
                _, relevance = attributor(x.clone())
            given: dict[str, Any] = {"rule": rule, **({"gamma": 0.25} if rule == "gamma" else {})}
            yield row("zennit", name, rule, ours(model, x, dict.fromkeys(DEPTHS, given)), relevance.detach())


class AttentionNet(nn.Module):
    """One attention block between linear layers, by LXT's explicit functions if `lxt` is given; AttnLRP throughout."""

    def __init__(self, lxt: Any = None) -> None:
        super().__init__()
        self.lxt = lxt
        torch.manual_seed(0)
        self.first, self.qkv, self.proj, self.fc = (nn.Linear(*s) for s in ((24, 32), (32, 96), (32, 32), (32, 5)))

    def forward(self, x: Tensor) -> Tensor:
        linear = partial(self.lxt.linear_epsilon, epsilon=EXACT) if self.lxt else F.linear
        matmul = partial(self.lxt.matmul, epsilon=EXACT) if self.lxt else torch.matmul
        softmax = self.lxt.softmax if self.lxt else F.softmax
        h = linear(x, self.first.weight, self.first.bias)
        packed = linear(h, self.qkv.weight, self.qkv.bias)
        q, k, v = packed.reshape(len(x), -1, 3, 4, 8).permute(2, 0, 3, 1, 4)
        out = matmul(softmax(matmul(q, k.transpose(-2, -1)), -1), v)
        out = linear(out.transpose(1, 2).flatten(2), self.proj.weight, self.proj.bias)
        out = self.lxt.add2(out, h, epsilon=EXACT) if self.lxt else out + h
        logits: Tensor = linear(out[:, 0], self.fc.weight, self.fc.bias)
        return logits


def lxt_rows(x: Tensor) -> Iterator[Row]:
    """AttnLRP on an attention block by LXT's explicit rules, and CP-LRP on torchvision's ViT by its patches."""
    functional = needed("lxt.explicit.functional", "lxt")
    tokens = torch.randn(4, 9, 24).double().requires_grad_()
    theirs = AttentionNet(functional).double().eval()
    logits = theirs(tokens)
    best = logits.argmax(1)
    start = logits.detach() * F.one_hot(best, 5)  # explicit rules pass on relevance itself, not gradients
    (relevance,) = torch.autograd.grad(logits, tokens, start)
    plain = {"rule": "epsilon", "epsilon": 0}
    mine = ours(AttentionNet().double().eval(), tokens.detach(), dict.fromkeys(DEPTHS, plain))
    yield row("lxt", "attention block", "attnlrp, epsilon 0", mine, relevance)

    transformer = import_module("torchvision.models.vision_transformer")
    torch.manual_seed(0)
    model = randomised(transformer.vit_b_16(num_classes=10)).double().requires_grad_(False)
    # LXT's efficient mode has no stabiliser in linear layers either
    mine = ours(model, x, {**dict.fromkeys(DEPTHS, plain), "attention": "cp"})
    best = model(x).argmax(1)
    core, patches = needed("lxt.efficient.core", "lxt"), needed("lxt.efficient.models.vit_torch", "lxt")
    core.monkey_patch(transformer, patches.cp_LRP)  # classes of torch itself change: nothing may run after this
    images = x.clone().requires_grad_()
    chosen = model(images).gather(1, best[:, None]).sum()
    (gradient,) = torch.autograd.grad(chosen, images)
    yield row("lxt", "vit_b_16", "cp, gradient x input", mine, images.detach() * gradient)


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("benchmarks/results/lrp_agreement.json"))
@click.option("--images", default=2, show_default=True, help="How many random images are explained.")
def main(out: Path, images: int) -> None:
    """Compares, prints and writes the table."""
    from secateur.benchmarks.environment import environment

    torch.manual_seed(1)
    x = torch.randn(images, 3, 224, 224).double()
    rows = []
    for found in chain(zennit_rows(x), lxt_rows(x)):
        rows.append(asdict(found))
        click.echo(f"{found.library:7} {found.model:16} {found.rule:22} {found.largest_difference:.1e}", err=True)
    content = {
        "command": "python -m secateur_studies.lrp_agreement",
        "environment": asdict(environment()),
        "difference": "largest absolute difference of the images' relevance, by its largest absolute value",
        "tolerance": TOLERANCE,
        "rows": rows,
    }
    write_json(out, "lrp_agreement", content)


if __name__ == "__main__":
    main()
