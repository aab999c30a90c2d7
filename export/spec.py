"""What is exported and built: the part of a recipe under `export`."""

from __future__ import annotations

from dataclasses import dataclass

from secateur.core.errors import RecipeError, naming
from secateur.export.precision import PRECISIONS, parse_precision
from secateur.export.targets import parse_target


@dataclass(frozen=True)
class ExportSpec:
    """Which engines are built, and in which precisions the ONNX graphs are typed; others raise a `SecateurError`."""

    precisions: tuple[str, ...] = ("fp32",)
    targets: tuple[str, ...] = ("onnxruntime:cpu",)

    def __post_init__(self) -> None:
        if not self.precisions or len(set(self.precisions)) < len(self.precisions):
            raise RecipeError(
                f"export.precisions is {list(self.precisions)}, but must be one or more of {', '.join(PRECISIONS)}, "
                "each once"
            )
        for precision in self.precisions:
            with naming("export.precisions"):
                parse_precision(precision)
        for target in self.targets:
            with naming("export.targets"):
                parse_target(target)
