"""YAML from strangers: bounded in length, nesting and what its aliases unfold to, and with no key twice."""

from __future__ import annotations

from collections import Counter
from typing import Any

import yaml

MOST_CHARACTERS = 1_000_000
"""Of a text; recipes have a few hundred."""
MOST_VALUES = 100_000
"""Values in a text, each alias counted with all that it stands for."""
DEEPEST = 50
"""Lists and sections in each other."""
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""That of libyaml, eight times as fast, where PyYAML was built with it; both make the same of a text."""


def parse_yaml(text: str) -> Any:
    """The value in a YAML text; raises `ValueError` with one sentence for a text that is none, or exceeds a bound."""
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"it has {len(text):,} characters, but at most {MOST_CHARACTERS:,} are read")
    try:
        _check_depth(text)
        loader = LOADER(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _check_size(node, {})
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
    except (KeyError, IndexError, AttributeError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(f"a value is not of the kind that it says ({type(error).__name__}: {error})") from error


def _check_depth(text: str) -> None:
    depth = 0
    for event in yaml.parse(text, LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > DEEPEST:
            raise ValueError(f"lists or sections lie in each other more than {DEEPEST} deep")


def _check_keys(node: yaml.MappingNode) -> None:
    """Raises `ValueError` for a section with two equal keys, of which YAML would drop the first in silence."""
    keys = Counter((key.tag, key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode))
    if twice := [name for (_, name), count in keys.items() if count > 1]:
        raise ValueError(f"the key {twice[0]!r} stands more than once in one section")


def _check_size(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values a node unfolds to; raises `ValueError` for too many, for an alias in itself and a key twice."""
    if (size := known.get(id(node))) is not None:
        if not size:
            raise ValueError("an alias stands in what it stands for")
        return size
    known[id(node)] = 0
    size = 1
    if isinstance(node, yaml.MappingNode):
        _check_keys(node)
    if isinstance(node, yaml.CollectionNode):
        for one in node.value:
            size += sum(_check_size(part, known) for part in (one if isinstance(one, tuple) else (one,)))
    if size > MOST_VALUES:
        raise ValueError(f"its aliases stand for more than {MOST_VALUES:,} values")
    known[id(node)] = size
    return size
