"""The exception family of secateur: every message says what was got, what is allowed and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches


class SecateurError(Exception):
    """The root of all errors that secateur raises on purpose; the command line exits with `exit_code`.

    >>> try:
    ...     sc.Budget(macs=1.5)
    ... except sc.SecateurError as error:
    ...     print(error)
    the budget macs is 1.5, but must be a fraction between 0 and 1, ...
    """

    exit_code = 2

    def __reduce__(self) -> tuple[object, ...]:
        """What pickle makes it of again: its parts, since `__init__` may ask for others than `args`."""
        return _remade, (type(self), self.args), self.__dict__


def _remade(kind: type[SecateurError], args: tuple[object, ...]) -> SecateurError:
    return kind.__new__(kind, *args)


class RecipeError(SecateurError):
    """A recipe has an unknown key or a value out of its range."""


class DataError(SecateurError):
    """Images or labels cannot be read or do not fit together."""


class ModelError(SecateurError):
    """A model or a checkpoint cannot be created, read or matched."""


class PlanError(SecateurError):
    """A plan or a budget cannot be met or does not fit the model."""


class NotFiniteError(PlanError):
    """Scores overflow: no order of units follows from them."""


class SurgeryError(SecateurError):
    """Removing did not give what masking gives; the message names the first group that disagrees."""


class RunError(SecateurError):
    """A run directory cannot be used as asked."""


class KernelError(SecateurError):
    """A kernel cannot be compiled or launched as asked."""


class ExportError(SecateurError):
    """A model cannot be exported, or the export does not reproduce the model."""


class EngineError(SecateurError):
    """An engine cannot be built, opened or run as asked."""


class UnsupportedError(EngineError):
    """An engine or its runtime cannot do what was asked here, though nothing is broken."""


class FallbackError(UnsupportedError):
    """A runtime would silently run on another provider than the one that was asked for."""

    def __init__(self, message: str, provider: str) -> None:
        super().__init__(message)
        self.provider = provider


class BundleError(SecateurError):
    """A bundle is damaged, or cannot be verified as asked."""


class BenchError(SecateurError):
    """A measurement or a comparison of measurements is not possible."""


class DeviceError(SecateurError):
    """A device cannot be reached over ssh, or cannot do what was asked of it."""


class ConnectionLostError(DeviceError):
    """The connection to a device broke off; what runs there goes on, and the same command takes it up again."""


class MissingPackageError(SecateurError):
    """An optional package is absent; the message holds the install command."""

    def __init__(self, package: str, needed_for: str, extra: str) -> None:
        super().__init__(
            f"the package {package!r} is not installed and {needed_for} needs it: "
            f"install it with `pip install 'secateur[{extra}]'`"
        )
        self.package = package


@contextmanager
def naming(key: str) -> Iterator[None]:
    """The block's errors begin with `key`, a place in the recipe such as `bench.targets`."""
    try:
        yield
    except SecateurError as error:
        error.args = (f"{key}: {error}",)
        raise


def near_matches(word: str, choices: Iterable[str], most: int = 3) -> str:
    """A phrase such as `; did you mean 'a' or 'b'?` with the choices nearest to `word`, or an empty string.

    Where none is near, those whose first letters it is.
    """
    names = list(choices)
    near = get_close_matches(word, names, n=most, cutoff=0.6)
    near = near or [name for name in names if len(word) > 1 and name.startswith(word)][:most]
    return f"; did you mean {' or '.join(repr(name) for name in near)}?" if near else ""
