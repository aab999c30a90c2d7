"""The texts below the fields of dataclasses."""

from __future__ import annotations

from dataclasses import dataclass, make_dataclass

from secateur.core.field_docs import field_docs


@dataclass
class Base:
    """A base."""

    first: int = 1
    """Counts
    things.
    """
    second: int = 2
    """Is replaced below."""
    unsaid: int = 3


def test_every_field_has_the_text_below_it_and_inherits_those_of_its_bases() -> None:
    @dataclass
    class Inner(Base):
        """A class inside a function."""

        second: int = 4
        """Is said anew."""
        last: str = ""

        def method(self) -> str:
            """No field."""
            return self.last

    assert field_docs(Inner) == {"first": "Counts things.", "second": "Is said anew."}


def test_a_class_without_source_has_no_texts_of_its_own() -> None:
    assert field_docs(make_dataclass("Made", ["x"])) == {}
    assert field_docs(make_dataclass("Made", [], bases=(Base,))) == field_docs(Base)
