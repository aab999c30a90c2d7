"""Reads from a traced model which of its parameters' positions must go together."""

from secateur.pipeline.structure.graph import elementwise, moves, norms, products  # noqa: F401  (they register rules)
