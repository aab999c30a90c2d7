"""What the runner raises: every message says what was got, what is allowed and what to do."""

from __future__ import annotations


class RunnerError(Exception):
    """The root of all errors that the runner raises on purpose; its commands exit with 2."""


class BundleError(RunnerError):
    """A bundle is damaged, incomplete, or holds something that no bundle may."""


class UnavailableError(RunnerError):
    """A runtime, a device or a package is not here: nothing is wrong with the bundle."""


class WrongEngineError(RunnerError):
    """An engine was built for another device or another version of its runtime."""


class InferenceError(RunnerError):
    """A model cannot be opened or run."""
