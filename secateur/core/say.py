"""How long work tells of its progress."""

from __future__ import annotations

from collections.abc import Callable

Say = Callable[[str], None]
"""What is handed each sentence on the progress of long work, or on what was left out."""
