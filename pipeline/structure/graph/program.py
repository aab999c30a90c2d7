"""The model's graph of ATen operations, and what its nodes say of themselves: their modules, lengths and sources."""

from __future__ import annotations

import builtins
import contextlib
import os
import traceback
from collections.abc import Collection, Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram

from secateur.core.errors import ModelError
from secateur.core.input_spec import InputSpec
from secateur.core.model_inputs import ModelInputs, arguments, chosen, joined, tensors_in
from secateur.core.modules import evaluating
from secateur.export.graph_types import first_line
from secateur.export.quiet import quiet
from secateur.pipeline.structure.graph.regions import inlined

WRAPPED = {"DataParallel": "module", "DistributedDataParallel": "module", "OptimizedModule": "_orig_mod"}
"""Modules around a model that no tracer sees through, and where they keep it."""
SAMPLES = 2
"""The batch of the traced example; with 1, lengths that come from the batch would look like constants."""


def exported(model: nn.Module, example: ModelInputs, training: bool = False) -> ExportedProgram:
    """The model's graph of ATen operations, for any batch and the sample size of `example`; it returns a flat list.

    In evaluation mode, or all of it in `training` mode; the model is left as it was. Raises `ModelError` for a model
    that returns no tensor, does not run on the example or cannot be traced, with the place in its code.
    """
    if (around := type(model).__name__) in WRAPPED:
        raise ModelError(f"a {around} around a model cannot be traced: give the model inside, its .{WRAPPED[around]}")
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise ModelError(
                f"{name or 'the model'} is scripted, which cannot be traced: give the module it was made of"
            )
        if type(module).__name__ == "OptimizedModule":
            raise ModelError(
                f"{name} is compiled, which cannot be traced: put the module inside, its ._orig_mod, there"
            )
    args, kwargs = arguments(joined([chosen(example, slice(0, 1))] * SAMPLES))
    shapes = torch.export.ShapesCollection()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    for tensor, spec in zip(tensors_in([args, kwargs]), InputSpec.of(example).tensors, strict=True):
        if spec.batched:
            shapes[tensor] = {0: torch.export.Dim.AUTO}
    flat = model.register_forward_hook(tensors_alone)
    try:
        with evaluating(model), torch.no_grad(), symbolic_len(), quiet():
            model.train(training)
            try:
                program = inlined(torch.export.export(model, args, kwargs, dynamic_shapes=shapes, strict=False))
                _check_lengths(model, program)
                return program
            except ModelError:
                raise
            except Exception as error:  # a model's forward and the tracer raise nearly anything
                try:
                    model(*args, **kwargs)
                except Exception as own:
                    raise ModelError(
                        f"the {type(model).__name__} cannot run on {InputSpec.of(example)} ({first_line(own)}"
                        f"{place_in_code(own)}): give an example with the batch first that fits it"
                    ) from own
                raise ModelError(
                    f"the {type(model).__name__} cannot be traced ({first_line(error)}{place_in_code(error)}): its "
                    "forward must be tensor operations on named arguments, which do not depend on the numbers in them"
                    f"{_part(model, _through(error))}"
                ) from error
    finally:
        flat.remove()


def _check_lengths(model: nn.Module, program: ExportedProgram) -> None:
    """Raises `ModelError` for an operation that makes as many values as the numbers in a tensor ask for."""
    for node in program.graph.nodes:
        for tensor in tensors_in(node.meta.get("val")):
            if any(map(_is_unknown, tensor.shape)):
                lines = [line.strip() for line in str(node.meta.get("stack_trace", "")).splitlines() if line.strip()]
                place = f" ({', '.join(lines[-2:])})" if lines else ""
                module = module_of(node)
                raise ModelError(
                    f"the {type(model).__name__} cannot be traced: {operation_of(node)} in "
                    f"{module or 'the model itself'} makes a tensor whose length depends on the numbers in another "
                    f"one{place}: its forward must be tensor operations whose sizes follow from those of its inputs"
                    f"{_part(model, {id(model.get_submodule(module.partition('.')[0]))})}"
                )


def _through(error: BaseException) -> set[int]:
    """The identities of the modules whose code an error went through."""
    return {id(frame.f_locals.get("self")) for frame, _ in traceback.walk_tb(error.__traceback__)}


def _part(model: nn.Module, failed: Collection[int]) -> str:
    """What to do with a model whose largest part may be traced alone, as the backbone of a detector; else nothing.

    That is the largest of those before the one that `failed`, by identity, since others may fail as well.
    """
    before = takewhile(lambda child: id(child[1]) not in failed, model.named_children())
    sizes = {name: sum(tensor.numel() for tensor in part.parameters()) for name, part in before}
    name = max(sizes, key=sizes.__getitem__, default="")
    if len(list(model.children())) < 2 or not sizes.get(name):
        return ""
    return f"; or prune a part of it that is so, such as its .{name}, in its place"


def place_in_code(error: BaseException, whole: bool = True) -> str:
    """The last line of the user's code that an error went through: the file, the line and what it says.

    The file has its `whole` path or, for what is kept, its name only. Empty where it is PyTorch's own; that of
    torchvision and other libraries is the user's. Code without a file is none.
    """
    folders = Path(torch.__file__).parent, Path(__file__).parents[3]
    ours = (*(f"{folder}{os.sep}" for folder in folders), contextlib.__file__, "<")
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(ours)]
    if not frames or frames[-1].name == tensors_alone.__name__:
        return ""
    last = frames[-1]
    file = last.filename if whole else Path(last.filename).name
    return f", at {file}:{last.lineno} in {last.name}, `{last.line}`"


@contextlib.contextmanager
def symbolic_len() -> Iterator[None]:
    """Lets `len` of a tensor be its first length while code is traced, which `len` itself would settle for a number."""
    original = builtins.len

    def of(found: Any) -> Any:
        return found.shape[0] if isinstance(found, Tensor) and found.ndim else original(found)

    builtins.len = of
    try:
        yield
    finally:
        builtins.len = original


def tensors_alone(model: nn.Module, _inputs: Any, outputs: Any) -> list[Tensor]:
    """The tensors of a model's outputs alone, since a tracer does not know all that may hold them."""
    found = tensors_in(outputs)
    if not found:
        raise ModelError(
            f"the {type(model).__name__} returns a {type(outputs).__name__} that holds no tensor: give a model that "
            "returns tensors, or tuples, dictionaries or dataclasses of them"
        )
    return found


def aliases_of(model: nn.Module) -> dict[str, str]:
    """For every name of a parameter or buffer the first name of the same tensor, which is that of its labels."""
    first: dict[int, str] = {}
    every = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    return {name: first.setdefault(id(tensor), name) for name, tensor in every}


def lengths(tensor: Tensor) -> tuple[int, ...]:
    """The shape of a traced tensor, the batch having the length of the example."""
    return tuple(hint_of(size) for size in tensor.shape)


def hint_of(length: Any) -> int:
    """A length of a traced tensor for the example."""
    return length if isinstance(length, int) else int(length.node.hint)


def is_symbol(length: object) -> bool:
    """Whether a length of a traced tensor is left open; one that the code has settled is a number in another guise."""
    return isinstance(length, torch.SymInt) and length.node.maybe_as_int() is None


def _is_unknown(length: object) -> bool:
    """Whether a length of a traced tensor follows from no length of the inputs."""
    return isinstance(length, torch.SymInt) and length.node.hint is None


def operation_of(node: fx.Node) -> str:
    """The name of a node's ATen operation without its overload; that of the function for any other node."""
    target = str(node.target)
    return target.split(".")[1] if target.startswith("aten.") else str(getattr(node.target, "__name__", target))


def stack_of(node: fx.Node) -> list[tuple[str, str]]:
    """The modules whose forward runs a node, outermost first: a key for the call, and the module's path."""
    stack = node.meta.get("nn_module_stack") or {}
    return [(str(key), str(path).split("@")[0]) for key, (path, _) in stack.items()]


def module_of(node: fx.Node) -> str:
    """The path of the innermost module whose forward runs a node; empty for the model itself."""
    stack = stack_of(node)
    return stack[-1][1] if stack else ""


class Ancestry:
    """Which nodes of a graph were computed from which, asked of a whole graph in one pass."""

    def __init__(self) -> None:
        self._numbers: dict[fx.Node, int] = {}
        self._ancestors: dict[fx.Node, int] = {}  # a bit for each node, itself among them

    def add(self, node: fx.Node) -> None:
        """Takes in a node after those that it reads."""
        found = 1 << self._number(node)
        for source in node.all_input_nodes:
            found |= self._ancestors.get(source, 0)
        self._ancestors[node] = found

    def related(self, one: fx.Node, two: fx.Node) -> bool:
        """Whether one of two nodes was computed from the other."""
        return bool(self._ancestors[one] >> self._number(two) & 1 or self._ancestors[two] >> self._number(one) & 1)

    def _number(self, node: fx.Node) -> int:
        return self._numbers.setdefault(node, len(self._numbers))
