"""Modules whose forward function was written anew: all else of them is as it was, their class too."""

from __future__ import annotations

import copy
import inspect
import re
from typing import Any

from torch import fx, nn
from torch.fx.graph import CodeGen
from torch.fx.graph_module import _format_import_block, _forward_from_src
from torch.package.importer import sys_importer

from secateur.pipeline.structure.codegen.conditions import by_mode, check_arguments, check_mode, check_names, check_same
from secateur.pipeline.structure.graph.regions import MARKS, autocast_of, end_of, gradients

_INDENT = "    "
_BEGIN = re.compile(rf"    \w+ = (\w*(?:{autocast_of.__name__}|{gradients.__name__})\(.*\))(;.*)?$")
_END = re.compile(rf"    \w+ = \w*{end_of.__name__}\(.*\)(;.*)?$")


class WrittenModule:
    """What a module with new code has beside its own: the `written_graph` of it, and the `written_code` in Python."""

    written_graph: fx.Graph
    written_code: str
    written_for: type[nn.Module]
    written_names: dict[str, Any]

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """A copy with parts of its own and the same code."""
        made = type(self).__new__(type(self))
        memo[id(self)] = made
        made.__setstate__(copy.deepcopy(self.__getstate__(), memo))  # type: ignore[attr-defined]  # a module has it
        return made

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """What pickle keeps: the code, since there is no class that could be imported."""
        imports = _format_import_block(self.written_names, sys_importer)
        return _made_of_code, (self.written_for, f"{imports}\n{self.written_code}"), self.__getstate__()


class _Retraced:
    """The graph of a module of which only the code is known."""

    def __get__(self, module: Any, kind: Any) -> fx.Graph:
        called = [found for found in kind.forward.__globals__.values() if isinstance(found, type)]
        functions: tuple[Any, ...] = (by_mode, check_arguments, check_mode, check_names, check_same, *MARKS, *called)
        kind.written_graph = _Tracer(autowrap_functions=functions).trace(module)
        found: fx.Graph = kind.written_graph
        return found


class _Tracer(fx.Tracer):
    traced_func_name = "_marked_forward"

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return True


class _Header(CodeGen):
    """Writes the parameters in the order of a signature, with the star before those that take keywords alone."""

    def __init__(self, signature: inspect.Signature) -> None:
        super().__init__()
        self._kinds = {name: parameter.kind for name, parameter in signature.parameters.items()}

    def gen_fn_def(self, free_vars: list[str], *args: Any, **kwargs: Any) -> str:
        """The first line of the function, whose parameters are `free_vars`."""
        written = {var.partition("=")[0].strip(" *"): var for var in free_vars}
        ordered, kinds = [written[name] for name in self._kinds], list(self._kinds.values())
        keyword = inspect.Parameter.KEYWORD_ONLY
        if keyword in kinds and inspect.Parameter.VAR_POSITIONAL not in kinds:
            ordered.insert(kinds.index(keyword), "*")
        return super().gen_fn_def(ordered, *args, **kwargs)


def write_forward(module: nn.Module, graph: fx.Graph) -> None:
    """Gives a module, in place, the code of a graph as its forward function.

    Its class becomes one of its own, of the same name and with the former one as a base.
    """
    kind = getattr(module, "written_for", type(module))
    graph.set_codegen(_Header(inspect.signature(module.forward)))
    module.__dict__.pop("forward", None)  # some modules choose among their functions when they are made
    source = graph.python_code("self")
    module.__class__ = _class_of(kind, source.src, graph, dict(source.globals))


def _class_of(kind: type[nn.Module], code: str, graph: Any, known: dict[str, Any]) -> type[nn.Module]:
    parts = {
        **{name: getattr(kind, name) for name in ("__module__", "__qualname__", "__doc__")},
        "written_graph": graph,
        "written_code": code,
        "written_for": kind,
        "written_names": known,
        "forward": _forward_from_src(in_blocks(code), dict(known)),
        "_marked_forward": _forward_from_src(code, dict(known)),  # which a tracer can go through
    }
    return type(kind.__name__, (WrittenModule, kind), parts)


def in_blocks(code: str) -> str:
    """Code with each region between two marks as a `with` block, which ends whatever is raised in it."""
    lines, depth = list[str](), 0
    for line in code.splitlines():
        begin = _BEGIN.match(line)
        ends = _END.match(line) is not None
        if ends and lines[-1].endswith(":"):
            lines.append(f"{_INDENT * (depth + 1)}pass")
        depth -= ends
        if not ends:
            lines.append(_INDENT * depth + (f"    with {begin[1]}:" if begin else line))
        depth += begin is not None
    return "\n".join(lines) + "\n"


def _made_of_code(kind: type[nn.Module], code: str) -> nn.Module:
    found = _class_of(kind, code, _Retraced(), {})
    return found.__new__(found)
