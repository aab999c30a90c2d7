"""How graphs are quantised: the part of a recipe under `export.quantize`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from secateur.core.errors import RecipeError
from secateur.core.options import check_fields
from secateur.core.ranges import Range


@dataclass(frozen=True)
class Quantization:
    """How ranges of activations are measured and what is done so that 8 bits lose little.

    `rule` says how far an activation reaches (see `ranges.reach`); `measured` takes the rule whose graph is nearest to
    the fp32 one on images held out from the calibration. `recentre` moves the middle of each channel of a LayerNorm to
    0 and into the biases behind (Outlier Suppression+), `balance` is the strength with which its channels are then
    evened out (SmoothQuant's alpha; 0: not at all), `correct` moves what rounded weights shift on average into the
    biases, where that lowers the same error. `softmax` is how far the output of a softmax reaches: as `measured` as any
    other, or to `one`, its bound.
    `rest` is the type of everything that is not in 8 bits: `fp16`, `bf16` or `fp32`; by default (`target`) fp16, which
    TensorRT runs fastest, and fp32 where no target of a recipe is TensorRT. Nodes that fp16 cannot hold stay in fp32.
    `runtime` is the one for whose kernels pairs are placed: TensorRT's take 8 bits in and give any type, those of ONNX
    Runtime for convolutions give 8 bits too and know numbers without a sign; by default (`target`) TensorRT, unless a
    recipe has other targets only. `keep` are globs of modules (`blocks.0.*`) or nodes that keep their type; the first
    and the last product do unless `ends` quantises these too.

    >>> sc.Quantization(rule="mse", keep=("blocks.0.*",)).balance
    0.5
    """

    rule: Literal["measured", "minmax", "entropy", "percentile", "mse"] = "measured"
    recentre: bool = True
    balance: Annotated[float, Range(0, 1)] = 0.5
    correct: bool = True
    softmax: Literal["measured", "one"] = "measured"
    rest: Literal["target", "fp16", "bf16", "fp32"] = "target"
    runtime: Literal["target", "tensorrt", "onnxruntime"] = "target"
    keep: tuple[str, ...] = ()
    ends: bool = False

    def __post_init__(self) -> None:
        check_fields(self, "export.quantize", RecipeError)


@dataclass(frozen=True)
class QuantizeSpec(Quantization):
    """Quantisation with `samples_per_class` calibration images of each class (0: all), `batch_size` at a time.

    At most `drop_images` others of the calibration split (0: all) tell what `export.max_drop` limits.
    """

    samples_per_class: Annotated[int, Range(0)] = 10
    batch_size: Annotated[int, Range(1)] = 32
    drop_images: Annotated[int, Range(0)] = 1000
