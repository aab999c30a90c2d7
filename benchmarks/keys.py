"""The names in a result: keys of latencies by target, precision, mode and batch, and the metric of a classifier."""

from __future__ import annotations

import re
from collections.abc import Sequence

TOP1 = "top-1 accuracy"
"""The name of the metric whose standard error is that of a share of images."""


def latency_key(target: str, batch: int, batches: Sequence[int]) -> str:
    """The key of a latency: the target alone where only one batch size is measured."""
    return target if len(batches) == 1 else f"{target}@b{batch}"


def split_key(key: str) -> tuple[str, int | None]:
    """The target with its precision and mode (`onnxruntime:cpu@fp16@cold`) and, where the key has it, the batch."""
    found = re.fullmatch(r"(.+)@b(\d+)", key)
    return (found[1], int(found[2])) if found else (key, None)
