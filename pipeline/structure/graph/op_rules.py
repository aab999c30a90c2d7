"""The rules of all operations that labels can be followed through."""

from __future__ import annotations

from secateur.pipeline.structure.graph import (
    concat_ops,
    contraction_ops,
    convolution_ops,
    elementwise_ops,
    norm_ops,
    recurrent_ops,
    reduction_ops,
    shape_ops,
    spatial_ops,
)
from secateur.pipeline.structure.graph.rules import Rules

TABLES = (
    *(elementwise_ops, reduction_ops, norm_ops, spatial_ops),
    *(shape_ops, concat_ops, contraction_ops, convolution_ops, recurrent_ops),
)
RULES = Rules()
for _table in TABLES:
    RULES.include(_table.RULES)
