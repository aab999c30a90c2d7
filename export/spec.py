"""What is exported and built: the part of a recipe under `export`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from secateur.core.errors import RecipeError, naming
from secateur.core.options import check_fields
from secateur.core.ranges import Range, check_ranges
from secateur.export.build_options import PLAIN, BuildOptions
from secateur.export.precision import EIGHT_BITS, PRECISIONS, parse_precision
from secateur.export.quantize.spec import Quantization, QuantizeSpec
from secateur.export.targets import check_bits, parse_target
from secateur.export.tolerances import ToleranceSpec

DEFAULT = QuantizeSpec()
MEASURED = ToleranceSpec()


@dataclass(frozen=True)
class ExportSpec:
    """Which engines are built, and in which precisions the ONNX graphs are typed; others raise a `SecateurError`.

    `quantize` says how the graphs in 8 bits are made, `engines` how far those of the target `tensorrt` travel.
    """

    precisions: tuple[str, ...] = ("fp32",)
    """The types in which graphs are written, each once, such as `[fp32, fp16, int8]`."""
    targets: tuple[str, ...] = ("onnxruntime:cpu",)
    """What engines are built for, such as `onnxruntime:cpu` or `tensorrt_rtx:sm_86`."""
    quantize: QuantizeSpec = DEFAULT
    max_drop: float | None = None
    """How much of the task's metric graphs in 8 bits may lose against the fp32 one (points, or the labels' unit): as
    many products stay wide as that takes.
    """
    preprocessing: Literal["outside", "inside"] = "outside"
    """Whether graphs take normalised images, or (`inside`) cropped pixels, uint8 `[batch, H, W, C]`, and normalise
    them.
    """
    engines: BuildOptions = PLAIN
    parity: ToleranceSpec = MEASURED

    def __post_init__(self) -> None:
        if not self.precisions or len(set(self.precisions)) < len(self.precisions):
            raise RecipeError(
                f"export.precisions is {list(self.precisions)}, but must be one or more of "
                f"{', '.join((*PRECISIONS, *EIGHT_BITS))}, "
                "each once"
            )
        for precision in self.precisions:
            with naming("export.precisions"):
                parse_precision(precision)
        for target in self.targets:
            with naming("export.targets"):
                goal = parse_target(target)
                for precision in self.precisions:
                    check_bits(goal, precision)

        check_fields(self, "export", RecipeError, ["preprocessing"])
        check_ranges(self, "export", {"max_drop": Range(0)}, RecipeError)
        if self.max_drop is not None and not self.quantizes:
            raise RecipeError(
                f"export.max_drop is {self.max_drop:g}, but limits graphs in 8 bits, and export.precisions is "
                f"{list(self.precisions)}: add {' or '.join(EIGHT_BITS)}, or leave max_drop out"
            )

    @property
    def quantizes(self) -> bool:
        """Whether any of the graphs is in 8 bits."""
        return any(precision in EIGHT_BITS for precision in self.precisions)

    @property
    def calibrates(self) -> bool:
        """Whether any graph needs calibration images: those in 8 bits, and fp16's, whose ranges are measured."""
        return self.quantizes or "fp16" in self.precisions

    @property
    def quantization(self) -> Quantization:
        """How graphs are quantised for these targets."""
        return quantization_for(self.quantize, self.targets)


def quantization_for(spec: Quantization, targets: Iterable[str]) -> Quantization:
    """The settings with what is meant for the targets: where one is TensorRT, pairs are placed for it, and what is not
    in 8 bits is in fp16, which it runs fastest; else both are ONNX Runtime's.
    """
    tensorrt = any(parse_target(target).runtime.startswith("tensorrt") for target in targets)
    if spec.rest == "target":
        spec = replace(spec, rest="fp16" if tensorrt else "fp32")
    if spec.runtime == "target":
        spec = replace(spec, runtime="tensorrt" if tensorrt else "onnxruntime")
    return spec
