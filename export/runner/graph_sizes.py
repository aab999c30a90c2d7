"""How many numbers operations give that a few whole numbers size: runtimes make them as they fold constants.

The numbers are those of constants and weights; what other operations compute is not known before a runtime runs.
"""

from __future__ import annotations

from typing import Optional, Sequence, Tuple

MOST_NUMBERS = 1 << 32
"""Of one tensor; in float32 that is 16 GiB."""
MOST_ROUNDS = 1 << 24
"""Of a loop whose count a graph fixes."""
SHAPE_INPUT: dict[bytes, int] = {b"ConstantOfShape": 0, b"Expand": 1, b"Tile": 1, b"Resize": 3}
"""Operations with the input whose numbers, multiplied, their output has at least."""

Known = Optional[Tuple[int, ...]]
"""The whole numbers of an input, none of one that is left out, or None where a runtime computes them."""


def check_output(kind: bytes, given: Sequence[Known], shown: str) -> None:
    """Raises `ValueError` where an operation gives more numbers, of these inputs, than a machine has room for.

    `shown` is its name for the message.
    """
    place = SHAPE_INPUT.get(kind)
    if place is not None and len(given) > place:
        check_numbers(given[place] or (), f"the output of {shown}")
    elif kind == b"Range" and all(len(one or ()) == 1 for one in given[:3]) and len(given) >= 3:
        (start,), (limit,), (step,) = (one or () for one in given[:3])
        check_numbers([max(0, -(-(limit - start) // step))] if step else [], f"the output of {shown}")
    elif kind == b"OneHot" and len(given) > 1 and len(given[1] or ()) == 1:
        check_numbers(given[1] or (), f"the output of {shown}")
    elif kind == b"Loop" and given and len(given[0] or ()) == 1 and tuple(given[1:2]) in ((), ((),)):  # nothing ends it
        (rounds,) = given[0] or (0,)
        if rounds > MOST_ROUNDS:
            raise ValueError(f"{shown} goes round {rounds} times, but at most {MOST_ROUNDS} are run")


def check_numbers(dims: Sequence[int], where: str) -> int:
    """How many numbers a shape holds; raises `ValueError` for a negative size and for too many."""
    count, shape = 1, list(dims)
    if any(size < 0 for size in shape):
        raise ValueError(f"{where} has the shape {shape[:8]}")
    for size in sorted(shape):  # a zero comes first
        count *= size
        if count > MOST_NUMBERS:
            raise ValueError(f"{where} has the shape {shape[:8]}, of more than {MOST_NUMBERS} numbers")
    return count
