"""What the fields of a dataclass are for: the texts that stand below them in its source."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator


def field_docs(kind: type) -> dict[str, str]:
    """The docstring below each field of a class, its own and inherited ones, in one line each; by the field's name.

    Fields without one are left out, and so are the classes whose source cannot be read.
    """
    found: dict[str, str] = {}
    for one in reversed(kind.__mro__[:-1]):
        found |= dict(_docs_of(one))
    return found


def _docs_of(kind: type) -> Iterator[tuple[str, str]]:
    """The fields that the body of a class declares with a docstring."""
    try:
        source = inspect.getsource(kind)
    except (OSError, TypeError):  # made while running, or compiled
        return
    body = ast.parse(textwrap.dedent(source)).body[0]
    assert isinstance(body, ast.ClassDef)  # for the type checker: the source is that of a class
    for field, below in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and (text := _text(below)):
            yield field.target.id, text


def _text(statement: ast.stmt) -> str:
    """The words of a statement that is a text alone, else an empty string."""
    value = statement.value if isinstance(statement, ast.Expr) else None
    words = value.value if isinstance(value, ast.Constant) else None
    return " ".join(words.split()) if isinstance(words, str) else ""
