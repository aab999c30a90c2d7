"""The errors of the kernels."""

from __future__ import annotations

from secateur.core.errors import SecateurError


class KernelError(SecateurError):
    """A kernel cannot be compiled or launched as asked."""
