"""What an ONNX file from strangers must be before a runtime opens it: finite, acyclic, and all within its folder.

Runtimes follow the names of files in a graph, unfold its functions and allocate what its shapes say. The file is read
as it lies on the wire (onnx.proto of ONNX 1.19), so that a device needs no other package for it.
"""

from __future__ import annotations

import mmap
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterable, Tuple

from .errors import InferenceError
from .graph_sizes import check_numbers, check_output
from .onnx_fields import GRAPH_NODE, GRAPH_TENSOR, MODEL_GRAPH, NODE_INPUT, NODE_KIND, TENSOR_NAME, TENSOR_TYPE
from .wire import Field, fields, numbers

MOST_BYTES = (1 << 31) - 1
"""Of a message of protobuf, and so of an .onnx file; larger weights lie beside it."""
MOST_NODES = 1000000
"""Of a graph whose functions are unfolded."""
DEEPEST = 30
"""Graphs in each other, and functions that call each other."""
LONGEST = 255
"""Bytes of the name of a file."""

_MODEL_TRAINING, _MODEL_FUNCTION = 20, 25
_GRAPH_SPARSE, _GRAPH_INPUT, _GRAPH_VALUES = 15, 11, (11, 12, 13)
_FUNCTION_NAME, _FUNCTION_NODE, _FUNCTION_DOMAIN, _FUNCTION_DEFAULT, _FUNCTION_OVERLOAD = 1, 7, 10, 11, 13
_FUNCTION_INPUT, _FUNCTION_VALUES = 4, 12
_NODE_OUTPUT, _NODE_ATTRIBUTE, _NODE_DOMAIN, _NODE_OVERLOAD = 2, 5, 7, 8
_ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS, _ATTRIBUTE_SPARSE = (5, 10), (6, 11), (22, 23)
_ATTRIBUTE_ONES, _ATTRIBUTE_WHOLE = (5, 6, 22), (3, 8)
_TENSOR_DIMS, _TENSOR_INTS, _TENSOR_RAW, _TENSOR_EXTERNAL = 1, 7, 9, 13
_SPARSE_PARTS, _SPARSE_DIMS = (1, 2), 3
_BITS = {1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 14: 64, 15: 128, 16: 16}
_BITS.update({17: 8, 18: 8, 19: 8, 20: 8, 21: 4, 22: 4, 23: 4, 24: 8, 25: 2, 26: 2})
_INT64, _LONGEST_SHAPE = 7, 16
_COMPILED = b"EPContext"
"""A node with what a provider has compiled, in itself or in a file."""

Function = Tuple[bytes, bytes, bytes]
"""Domain, name and overload."""


@dataclass(frozen=True)
class _Node:
    """A node: what it reads (what its subgraphs read around them, too), what it gives, and what it calls."""

    reads: tuple[bytes, ...]
    gives: tuple[bytes, ...]
    calls: dict[Function, int]


@dataclass(frozen=True)
class _Body:
    """The nodes of a graph or a function: what they read from outside, and what they call how often."""

    reads: tuple[bytes, ...]
    calls: dict[Function, int]


def check_graph(path: Path) -> None:
    """Raises `InferenceError` for an ONNX file that a runtime may not be given.

    That is one that is cut off, that reads or links to anything but files beside it, or beyond their ends; whose
    operations wait for each other; whose functions call themselves or unfold without end; or with tensors that have
    more numbers than a machine has room for.
    """
    try:
        if not path.is_file():
            raise ValueError("it is no file" if path.exists() else "there is none")
        size = path.stat().st_size
        if not 0 < size <= MOST_BYTES:
            raise ValueError(f"it has {size} bytes, but 1 to {MOST_BYTES} are read")
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            _Reader(data, path.parent).model()
    except OSError as error:
        raise InferenceError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise InferenceError(
            f"{path} is not a readable ONNX model ({error}): export it again, or get it again from where it was made"
        ) from error


class _Reader:
    """One model: the messages of its file from the outside in. All methods raise `ValueError` with what is wrong."""

    def __init__(self, data: Any, folder: Path) -> None:
        self._data = data
        self._folder = folder
        self._shapes: dict[bytes, tuple[int, ...]] = {}

    def model(self) -> None:
        graphs, functions = [], {}
        for number, _, start, end in fields(self._data, 0, len(self._data)):
            if number == MODEL_GRAPH:
                graphs.append(self._graph(start, end, 1))
            elif number == _MODEL_TRAINING:
                graphs += [self._graph(*span, 1) for span in self._spans(start, end, (1, 2))]
            elif number == _MODEL_FUNCTION:
                key, body = self._function(start, end)
                if key in functions:
                    raise ValueError(f"it defines the function {_shown(key[1])} twice")
                functions[key] = body
        if not graphs:
            raise ValueError("it holds no graph")
        sizes: dict[Function, int] = {}
        total = sum(_unfolded(graph.calls, functions, sizes, 1) for graph in graphs)
        total += sum(_unfolded({key: 1}, functions, sizes, 0) for key in functions)
        if total > MOST_NODES:
            raise ValueError(f"its functions unfold to {total} operations, but at most {MOST_NODES} are opened")

    def _graph(self, start: int, end: int, depth: int) -> _Body:
        if depth > DEEPEST:
            raise ValueError(f"its graphs lie in each other more than {DEEPEST} deep")
        nodes, given = [], set()
        spans = list(fields(self._data, start, end))
        for number, _, begin, stop in spans:  # the shapes that its nodes read are known before these
            if number == GRAPH_TENSOR:
                given.add(self._tensor(begin, stop))
            elif number == _GRAPH_SPARSE:
                given.add(self._sparse(begin, stop))
            elif number in _GRAPH_VALUES:
                name = self._value(begin, stop)
                if number == _GRAPH_INPUT:
                    given.add(name)
        for number, _, begin, stop in spans:
            if number == GRAPH_NODE:
                nodes.append(self._node(begin, stop, depth))
        return _ordered(nodes, given)

    def _function(self, start: int, end: int) -> tuple[Function, _Body]:
        words = {_FUNCTION_NAME: b"", _FUNCTION_DOMAIN: b"", _FUNCTION_OVERLOAD: b""}
        nodes, given = [], set()
        for number, _, begin, stop in fields(self._data, start, end):
            if number in words:
                words[number] = self._data[begin:stop]
            elif number == _FUNCTION_NODE:
                nodes.append(self._node(begin, stop, 1))
            elif number == _FUNCTION_INPUT:
                given.add(self._data[begin:stop])
            elif number == _FUNCTION_DEFAULT:
                self._attribute(begin, stop, 1)
            elif number == _FUNCTION_VALUES:
                self._value(begin, stop)
        key = (_domain(words[_FUNCTION_DOMAIN]), words[_FUNCTION_NAME], words[_FUNCTION_OVERLOAD])
        return key, _ordered(nodes, given)

    def _node(self, start: int, end: int, depth: int) -> _Node:
        reads, gives, attributes = [], [], []
        words = {NODE_KIND: b"", _NODE_DOMAIN: b"", _NODE_OVERLOAD: b""}
        for number, _, begin, stop in fields(self._data, start, end):
            if number == NODE_INPUT:
                reads.append(self._data[begin:stop])
            elif number == _NODE_OUTPUT:
                gives.append(self._data[begin:stop])
            elif number == _NODE_ATTRIBUTE:
                attributes.append((begin, stop))
            elif number in words:
                words[number] = self._data[begin:stop]
        kind = words[NODE_KIND]
        calls = Counter({(_domain(words[_NODE_DOMAIN]), kind, words[_NODE_OVERLOAD]): 1})
        check_output(kind, [self._shapes.get(name) if name else () for name in reads], _shown(kind))
        if kind == _COMPILED:
            self._check_compiled(attributes)
        for span in attributes:
            for body in self._attribute(*span, depth, gives[0] if kind == b"Constant" and gives else b""):
                reads += body.reads
                calls.update(body.calls)
        return _Node(tuple(reads), tuple(gives), calls)

    def _attribute(self, start: int, end: int, depth: int, constant: bytes = b"") -> list[_Body]:
        """The graphs in an attribute; of a `constant` its tensor is remembered under this name."""
        bodies, seen = [], set()
        for field in fields(self._data, start, end):
            number, _, begin, stop = field
            if constant and number in _ATTRIBUTE_WHOLE:
                found = (*self._shapes.get(constant, ()), *numbers(self._data, field))
                self._shapes[constant] = found[: _LONGEST_SHAPE + 1]
            if number in _ATTRIBUTE_ONES and number in seen:
                raise ValueError("an attribute has two values")  # which protobuf would merge
            seen.add(number)
            if number in _ATTRIBUTE_TENSORS:
                self._tensor(begin, stop, constant)
            elif number in _ATTRIBUTE_GRAPHS:
                bodies.append(self._graph(begin, stop, depth + 1))
            elif number in _ATTRIBUTE_SPARSE:
                self._sparse(begin, stop)
        return bodies

    def _check_compiled(self, attributes: Iterable[tuple[int, int]]) -> None:
        """What a provider has compiled lies in the node, or in a file beside the graph."""
        name, inside = b"", 1
        for start, end in attributes:
            found = {number: (value, begin, stop) for number, value, begin, stop in fields(self._data, start, end)}
            _, begin, stop = found.get(1, (0, 0, 0))
            if self._data[begin:stop] == b"embed_mode" and 3 in found:
                inside = found[3][0]
            if self._data[begin:stop] == b"ep_cache_context" and 4 in found:
                name = self._data[found[4][1] : found[4][2]]
        if not inside:
            self._beside(name, "a compiled node")

    def _tensor(self, start: int, end: int, name: bytes = b"") -> bytes:
        """Checks a tensor; returns its name, or the `name` that is given."""
        dims: list[int] = []
        whole: list[int] = []
        external: dict[bytes, bytes] = {}
        kind, raw, place = 0, -1, 0
        for field in fields(self._data, start, end):
            number, value, begin, stop = field
            if number == _TENSOR_DIMS:
                dims += numbers(self._data, field)
            elif number == TENSOR_TYPE:
                kind = value
            elif number == _TENSOR_RAW:
                raw, place = stop - begin, begin
            elif number == _TENSOR_INTS and len(whole) <= _LONGEST_SHAPE:
                whole += numbers(self._data, field)
            elif number == TENSOR_NAME:
                name = name or self._data[begin:stop]
            elif number == _TENSOR_EXTERNAL:
                entry = {key: self._data[at:to] for key, _, at, to in fields(self._data, begin, stop)}
                external[entry.get(1, b"")] = entry.get(2, b"")
        where = f"the tensor {_shown(name)}"
        count = check_numbers(dims, where)
        needed = -(-count * _BITS.get(kind, 0) // 8)
        if external:
            self._check_external(external, needed, where)
        elif (raw >= 0 and kind in _BITS and raw < needed) or count > 4 * (end - start):  # 2 bits a number at least
            raise ValueError(f"{where} has {count} numbers of {dims}, but the file holds {max(raw, 0)} bytes of them")
        elif kind == _INT64 and len(dims) <= 1 and count <= _LONGEST_SHAPE:
            if raw >= 0:
                data = self._data[place : place + raw]
                whole = [int.from_bytes(data[at : at + 8], "little", signed=True) for at in range(0, raw, 8)]
            self._shapes[name] = tuple(whole)
        return name

    def _sparse(self, start: int, end: int) -> bytes:
        """Checks a sparse tensor; returns its name, which is that of its values."""
        dims: list[int] = []
        names = []
        for field in fields(self._data, start, end):
            if field[0] in _SPARSE_PARTS:
                names.append(self._tensor(*field[2:]))
            elif field[0] == _SPARSE_DIMS:
                dims += numbers(self._data, field)
        check_numbers(dims, "a sparse tensor")
        return names[0] if names else b""

    def _check_external(self, entries: dict[bytes, bytes], needed: int, where: str) -> None:
        file = self._beside(entries.get(b"location", b""), where)
        size = file.stat().st_size
        offset = _whole(entries.get(b"offset", b"0"), where)
        length = _whole(entries[b"length"], where) if b"length" in entries else needed
        if offset + max(length, needed) > size or length < needed:
            raise ValueError(
                f"{where} takes {max(length, needed)} bytes from {offset} on of {file.name}, which has {size}"
                if length >= needed
                else f"{where} needs {needed} bytes, but names {length} of {file.name}"
            )

    def _beside(self, word: bytes, where: str) -> Path:
        """The file of this name in the folder of the graph."""
        name = word.decode("utf-8", "replace")
        if not name or len(word) > LONGEST or name in (".", "..") or set(name) & set("/\\:\0\ufffd"):
            raise ValueError(
                f"{where} is read from {_shown(word)}, but files that a graph reads lie beside it, named without a "
                "folder"
            )
        file = self._folder / name
        if not file.is_file():
            raise ValueError(f"{where} is read from {_shown(word)}, which is no file beside it")
        if Path(os.path.realpath(file)).parent != Path(os.path.realpath(self._folder)):
            raise ValueError(f"{where} is read from {_shown(word)}, a link that leads out of the folder")
        return file

    def _value(self, start: int, end: int) -> bytes:
        """Checks the shape of an input, an output or a value between; returns its name."""
        name = b""
        for number, _, begin, stop in fields(self._data, start, end):
            if number == 1:
                name = self._data[begin:stop]
            elif number == 2:
                for tensor in self._spans(begin, stop, (1, 8)):
                    for shape in self._spans(*tensor, (2,)):
                        sizes = [self._size(*dim) for dim in self._spans(*shape, (1,))]
                        check_numbers([size for size in sizes if size > 0], f"the value {_shown(name)}")
        return name

    def _size(self, start: int, end: int) -> int:
        return next((value for number, value, _, _ in fields(self._data, start, end) if number == 1), 0)

    def _spans(self, start: int, end: int, wanted: tuple[int, ...]) -> list[tuple[int, int]]:
        found: Iterable[Field] = fields(self._data, start, end)
        return [(begin, stop) for number, _, begin, stop in found if number in wanted]


def _ordered(nodes: list[_Node], given: set[bytes]) -> _Body:
    """What nodes read from outside and call; raises `ValueError` where some wait for each other."""
    makers = {name: place for place, node in enumerate(nodes) for name in node.gives if name}
    waits = [{makers[name] for name in node.reads if name in makers} for node in nodes]
    readers: dict[int, list[int]] = {}
    for place, found in enumerate(waits):
        for one in found:
            readers.setdefault(one, []).append(place)
    left = [len(found) for found in waits]
    ready = [place for place, count in enumerate(left) if not count]
    for place in ready:  # which grows
        for reader in readers.get(place, ()):
            left[reader] -= 1
            if not left[reader]:
                ready.append(reader)
    if len(ready) < len(nodes):
        first = next(node for node, count in zip(nodes, left) if count)
        raise ValueError(f"the operation that gives {_shown(first.gives[0])} waits for its own output, in a circle")
    calls: Counter[Function] = Counter()
    for node in nodes:
        calls.update(node.calls)
    known = makers.keys() | given
    return _Body(tuple({name: 0 for node in nodes for name in node.reads if name not in known}), calls)


def _unfolded(
    calls: dict[Function, int], functions: dict[Function, _Body], sizes: dict[Function, int], depth: int
) -> int:
    """The operations that calls come to; those of functions are kept in `sizes`, 0 of one that is being counted."""
    if depth > DEEPEST:
        raise ValueError(f"its functions call each other more than {DEEPEST} deep")
    total = 0
    for key, times in calls.items():
        if key in functions and key not in sizes:
            sizes[key] = 0
            sizes[key] = 1 + _unfolded(functions[key].calls, functions, sizes, depth + 1)
        elif sizes.get(key) == 0:
            raise ValueError(f"the function {_shown(key[1])} calls itself")
        total += times * sizes.get(key, 1)
    return total


def _whole(word: bytes, where: str) -> int:
    if not word.isdigit() or len(word) > 18:
        raise ValueError(f"{where} is read from the place {_shown(word)} of a file")
    return int(word)


def _domain(word: bytes) -> bytes:
    return b"" if word == b"ai.onnx" else word


def _shown(word: bytes) -> str:
    return ascii(word.decode("utf-8", "replace")[:60])
