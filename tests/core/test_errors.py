"""Errors: near matches, and the key of the recipe that an error is about."""

from __future__ import annotations

import pickle

import pytest

from secateur.core.errors import EngineError, FallbackError, MissingPackageError, SecateurError, naming, near_matches


def test_near_matches_are_a_phrase_or_nothing() -> None:
    assert near_matches("alling", ["align", "kinds"]) == "; did you mean 'align'?"
    assert near_matches("zzz", ["align", "kinds"]) == ""
    assert near_matches("mlp", ["head", "mlp_hidden"]) == "; did you mean 'mlp_hidden'?"
    assert near_matches("m", ["mlp_hidden"]) == ""


@pytest.mark.parametrize("error", [EngineError("no target 'x'"), MissingPackageError("pycuda", "timing", "gpu")])
def test_an_error_names_its_key_and_stays_what_it_is(error: SecateurError) -> None:
    said = str(error)
    with pytest.raises(type(error)) as raised, naming("bench.targets"):
        raise error
    assert raised.value is error
    assert str(error) == f"bench.targets: {said}"


def test_other_errors_pass() -> None:
    with pytest.raises(ZeroDivisionError), naming("seed"):
        raise ZeroDivisionError


@pytest.mark.parametrize("kind", SecateurError.__subclasses__(), ids=lambda kind: kind.__name__)
def test_every_error_is_bad_input(kind: type[SecateurError]) -> None:
    assert kind.exit_code == 2


@pytest.mark.parametrize(
    "error",
    [EngineError("no"), MissingPackageError("pycuda", "timing", "gpu"), FallbackError("no CUDA", "CPU")],
    ids=lambda error: type(error).__name__,
)
def test_an_error_travels_between_processes(error: SecateurError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))
