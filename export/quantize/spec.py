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

    >>> sc.Quantization(rule="mse", keep=("blocks.0.*",)).balance
    0.5
    """

    rule: Literal["measured", "minmax", "entropy", "percentile", "mse"] = "measured"
    """How far an activation's range reaches; `measured` takes the rule whose graph is nearest to the fp32 one on images
    held out from the calibration.
    """
    recentre: bool = True
    """Whether the middle of each channel of a LayerNorm moves to 0 and into the biases behind (Outlier Suppression+).
    """
    balance: Annotated[float, Range(0, 1)] = 0.5
    """How strongly the channels of a LayerNorm are evened out (SmoothQuant's alpha); 0 for not at all."""
    correct: bool = True
    """Whether what rounded weights shift on average moves into the biases, where that lowers the error."""
    softmax: Literal["measured", "one"] = "measured"
    """How far the output of a softmax reaches: as `measured` as any other, or to `one`, its bound."""
    rest: Literal["target", "fp16", "bf16", "fp32"] = "target"
    """The type of everything that is not in 8 bits; `target` is fp16, and fp32 where no target of the recipe is
    TensorRT. Nodes that fp16 cannot hold stay in fp32.
    """
    runtime: Literal["target", "tensorrt", "onnxruntime"] = "target"
    """For whose kernels pairs are placed: TensorRT's take 8 bits in and give any type, ONNX Runtime's for convolutions
    give 8 bits too; `target` is TensorRT unless the recipe has other targets only.
    """
    keep: tuple[str, ...] = ()
    """Globs of modules (`blocks.0.*`) or nodes that keep their type."""
    ends: bool = False
    """Whether the first and the last product are in 8 bits too."""

    def __post_init__(self) -> None:
        check_fields(self, "export.quantize", RecipeError)


@dataclass(frozen=True)
class QuantizeSpec(Quantization):
    """Quantisation with the images that a recipe gives it."""

    samples_per_class: Annotated[int, Range(0)] = 10
    """How many calibration images of each class ranges are measured on; 0 for all."""
    batch_size: Annotated[int, Range(1)] = 32
    """How many images go through the model at a time."""
    drop_images: Annotated[int, Range(0)] = 1000
    """On at most how many other calibration images the loss is measured that `export.max_drop` limits; 0 for all."""
