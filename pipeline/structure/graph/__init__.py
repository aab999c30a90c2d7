"""Reads from a traced model which of its parameters' positions must go together."""

from secateur.pipeline.structure.graph import contraction_ops, elementwise, norms, shape_ops  # noqa: F401  (they register rules)
