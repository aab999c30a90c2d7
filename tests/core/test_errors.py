"""Errors: near matches, and the key of the recipe that an error is about."""

from __future__ import annotations

import pytest

from secateur.core.errors import EngineError, RecipeError, SecateurError, naming, near_matches


def test_near_matches_are_a_phrase_or_nothing() -> None:
    assert near_matches("alling", ["align", "kinds"]) == "; did you mean 'align'?"
    assert near_matches("zzz", ["align", "kinds"]) == ""


def test_an_error_names_its_key_and_keeps_its_cause() -> None:
    cause = EngineError("the target 'x' is not known")
    with (
        pytest.raises(RecipeError, match=r"^bench\.targets: the target 'x' is not known$") as raised,
        naming("bench.targets"),
    ):
        raise cause
    assert raised.value.__cause__ is cause


def test_other_errors_pass() -> None:
    with pytest.raises(ZeroDivisionError), naming("seed"):
        raise ZeroDivisionError


@pytest.mark.parametrize("kind", SecateurError.__subclasses__(), ids=lambda kind: kind.__name__)
def test_every_error_is_bad_input(kind: type[SecateurError]) -> None:
    assert kind.exit_code == 2
