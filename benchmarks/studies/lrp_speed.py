"""Images explained a second and peak memory, beside zennit, LXT and the published code of Pruning by eXplaining.

`python -m secateur_studies.lrp_speed --authors CHECKOUT` runs both sides of each comparison in processes of their
own, interleaved A B B A, at equal rules on the same random images and weights. Every time holds all that a user waits
for: reading the model's layout, attaching rules, and taking them away again. The other libraries are installed by hand.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import click
import torch
import torch.nn.functional as F
from secateur_studies.lrp_agreement import needed
from torch import Tensor, nn

from secateur.benchmarks.bootstrap import LEAST_BLOCKS, ratio_interval
from secateur.core.files import read_json, write_json
from secateur.pipeline.scores.lrp.composite import DEPTHS, find_composite
from secateur.pipeline.scores.lrp.relevance import IMAGES, relevances

Work = Callable[[], None]
RULES = ("epsilon", "gamma", "z_plus", "alpha_beta")
UNITS = {"heads": ("head",), "neurons": ("mlp_hidden",), "heads and neurons": ("head", "mlp_hidden")}
BATCH = 8
FIRST = F.one_hot(torch.tensor(0), 1000)
VIT = {"image_size": 224, "patch_size": 16, "num_layers": 12, "num_heads": 3, "hidden_dim": 192, "mlp_dim": 768}


@dataclass(frozen=True)
class Side:
    """One side of a comparison: the name of its maker in this module, with what it is called with."""

    maker: str
    arguments: dict[str, Any]
    images: int


@dataclass(frozen=True)
class Measured:
    """Times of one side in milliseconds for `images` images each; peak memory above what the idle process held."""

    images: int
    images_per_second: float
    peak_bytes: int
    samples_ms: tuple[float, ...]


def batched(images: Tensor) -> list[Tensor]:
    """The images in batches."""
    return [images[first : first + BATCH] for first in range(0, len(images), BATCH)]


def convolutional() -> nn.Module:
    """Torchvision's ResNet-18 with seeded weights."""
    torch.manual_seed(0)
    model: nn.Module = import_module("torchvision.models").resnet18()
    return model.eval().requires_grad_(False)


def transformer() -> nn.Module:
    """Torchvision's ViT with the sizes of DeiT-Tiny and seeded weights."""
    torch.manual_seed(0)
    model: nn.Module = import_module("torchvision.models.vision_transformer").VisionTransformer(**VIT)
    nn.init.normal_(model.get_submodule("heads.head").weight, std=0.02)  # type: ignore[arg-type]  # a tensor
    return model.eval().requires_grad_(False)


def maps(model: str, images: Tensor, rules: dict[str, Any]) -> Work:
    """Our relevance of the images by one of the two models."""
    network = {"vit": transformer, "resnet18": convolutional}[model]()
    loader = [(batch, torch.zeros(len(batch), dtype=torch.long)) for batch in batched(images)]

    def work() -> None:
        for _ in relevances(network, loader, (IMAGES,), find_composite(rules)):
            pass

    return work


def zennit_maps(images: Tensor, rule: str) -> Work:
    """Zennit's relevance of the images by a ResNet-18."""
    network = convolutional()
    rules, composites, types = (needed(f"zennit.{part}", "zennit") for part in ("rules", "composites", "types"))
    vision, core, attribution = (needed(f"zennit.{part}", "zennit") for part in ("torchvision", "layer", "attribution"))
    choices = {"epsilon": partial(rules.Epsilon, 1e-6), "gamma": partial(rules.Gamma, 0.25)}
    chosen = {**choices, "z_plus": rules.ZPlus, "alpha_beta": partial(rules.AlphaBeta, 2, 1)}[rule]

    def work() -> None:
        layers = [
            *((types.Activation, rules.Pass()), (core.Sum, rules.Norm()), (types.AvgPool, rules.Norm())),
            *((types.Convolution, chosen()), (types.Linear, chosen())),
        ]
        composite = composites.LayerMapComposite(layer_map=layers, canonizers=[vision.ResNetCanonizer()])
        with attribution.Gradient(network, composite, lambda logits: logits * FIRST) as attributor:
            for batch in batched(images):
                attributor(batch.clone())

    return work


def lxt_maps(images: Tensor) -> Work:
    """LXT's relevance of the images: CP-LRP, in its efficient mode."""
    core, patches = needed("lxt.efficient.core", "lxt"), needed("lxt.efficient.models.vit_torch", "lxt")
    core.monkey_patch(import_module("torchvision.models.vision_transformer"), patches.cp_LRP)
    network = transformer()

    def work() -> None:
        for batch in batched(images):
            pixels = batch.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(network(pixels)[:, 0].sum(), pixels)
            (pixels * gradient).detach()

    return work


def unit_scores(images: Tensor) -> Work:
    """Our scores of all groups of a DeiT-Tiny."""
    timm = import_module("timm")
    from secateur.pipeline.scores.score import score
    from secateur.pipeline.structure.find import find_groups

    torch.manual_seed(0)
    network = timm.create_model("deit_tiny_patch16_224").eval()
    groups = find_groups(network, images[:1])
    loader: Any = [(batch, torch.zeros(len(batch), dtype=torch.long)) for batch in batched(images)]

    def work() -> None:
        score(network, groups, loader, "lrp", composite="epsilon")

    return work


def published_unit_scores(images: Tensor, kinds: tuple[str, ...], authors: Path) -> Work:
    """The published scores of heads, of neurons, or of both in two runs; one image at a time."""
    from secateur_studies.pxp_authors import attributed

    network = transformer()
    loader = [(image[None], torch.zeros(1, dtype=torch.long)) for image in images]

    def work() -> None:
        for kind in kinds:
            attributed(network, loader, kind, authors)

    return work


def serve(connection: Connection, side: Side) -> None:
    """Runs in a process: does the side's work each time it is asked, and answers with milliseconds and peak bytes."""
    torch.manual_seed(1)
    images = torch.randn(side.images, 3, 224, 224)
    work = globals()[side.maker](images=images, **side.arguments)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew, with the model and the images in memory
    idle = _resident("VmRSS")
    work()
    connection.send("ready")
    while connection.recv() == "go":
        started = time.perf_counter()
        work()
        connection.send((1e3 * (time.perf_counter() - started), _resident("VmHWM") - idle))


def compared(ours: Side, theirs: Side, blocks: int) -> dict[str, Any]:
    """Both sides measured in A B B A blocks, with the ratio of times an image and its interval."""
    context = multiprocessing.get_context("spawn")
    found: tuple[list[tuple[float, int]], ...] = ([], [])
    with ExitStack() as stack:
        ends = []
        for side in (ours, theirs):
            end, other = context.Pipe()
            process = context.Process(target=serve, args=(other, side), daemon=True)
            process.start()
            stack.callback(process.join)
            stack.callback(end.send, "stop")
            other.close()
            ends.append(end)
        for end in ends:
            end.recv()
        for _ in range(blocks):
            for turn in (0, 1, 1, 0):
                ends[turn].send("go")
                found[turn].append(ends[turn].recv())
    per_image = [[ms / side.images for ms, _ in rows] for side, rows in zip((ours, theirs), found, strict=True)]
    return {
        "ours": asdict(summary(ours, found[0])),
        "theirs": asdict(summary(theirs, found[1])),
        "times_faster": asdict(ratio_interval(per_image[1], per_image[0])),
    }


def summary(side: Side, rows: list[tuple[float, int]]) -> Measured:
    """The median throughput and the largest peak of a side."""
    times = tuple(ms for ms, _ in rows)
    median = sorted(times)[len(times) // 2]
    return Measured(side.images, 1e3 * side.images / median, max(peak for _, peak in rows), times)


def _resident(key: str) -> int:
    """Bytes of this process: those resident now (`VmRSS`), or at the peak (`VmHWM`); Linux."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


def comparisons(authors: Path | None, images: int) -> dict[str, tuple[Side, Side]]:
    """All comparisons by name: what is explained, the library, the rule."""
    found: dict[str, tuple[Side, Side]] = {}
    for rule in RULES:
        given = {"rule": rule, **({"gamma": 0.25} if rule == "gamma" else {})}
        found[f"resnet18, zennit, {rule}"] = (
            Side("maps", {"model": "resnet18", "rules": dict.fromkeys(DEPTHS, given)}, images),
            Side("zennit_maps", {"rule": rule}, images),
        )
    rules: dict[str, Any] = {depth: {"rule": "epsilon", "epsilon": 0} for depth in DEPTHS}
    rules["attention"] = "cp"
    found["vit, lxt, cp"] = (Side("maps", {"model": "vit", "rules": rules}, images), Side("lxt_maps", {}, images))
    if authors is not None:
        for words, kinds in UNITS.items():
            theirs = Side("published_unit_scores", {"kinds": kinds, "authors": authors}, 1)
            found[f"deit_tiny {words}, published code, epsilon"] = (Side("unit_scores", {}, images), theirs)
    return found


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("benchmarks/results/lrp_speed.json"))
@click.option("--authors", type=click.Path(path_type=Path, exists=True), help="A checkout of the published code.")
@click.option("--images", default=2 * BATCH, show_default=True, help="Images a time, but one for published code.")
@click.option("--blocks", default=LEAST_BLOCKS, show_default=True)
def main(out: Path, authors: Path | None, images: int, blocks: int) -> None:
    """Measures what is not in the file yet, and writes it row by row."""
    from secateur.benchmarks.environment import environment

    rows = read_json(out, "lrp_speed")["rows"] if out.exists() else {}
    for name, sides in comparisons(authors, images).items():
        if name in rows:
            continue
        rows[name] = compared(*sides, blocks)
        content = {
            "command": "python -m secateur_studies.lrp_speed --authors CHECKOUT",
            "environment": asdict(environment()),
            "threads": torch.get_num_threads(),
            "batch": BATCH,
            "rows": rows,
        }
        write_json(out, "lrp_speed", content)
        found = rows[name]
        sizes = [found[side]["peak_bytes"] / 1e6 for side in ("ours", "theirs")]
        click.echo(f"{name}: {found['times_faster']['ratio']:.2f}x, {sizes[0]:.0f} and {sizes[1]:.0f} MB", err=True)


if __name__ == "__main__":
    main()
