"""A model as a program of PyTorch (`.pt2`): it needs no class to be loaded again, and takes any batch."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn

from secateur.core.errors import ExportError
from secateur.core.files import atomic_path
from secateur.core.input_spec import InputSpec
from secateur.core.json_text import parse_json
from secateur.core.model_inputs import ModelInputs, arguments, call, members, moved, tensors_in
from secateur.core.modules import device_of, evaluating
from secateur.export.graph_types import first_line
from secateur.export.quiet import quiet

SCHEMA = "secateur.program/1"
NOTE = "secateur.json"
BATCHES = (1, 3)
"""The batches at which a written program is compared with its model."""
CLOSE = 1e-3
"""The difference allowed, relative to the scale of an output."""


def save_program(model: nn.Module, example_input: ModelInputs, path: str | Path) -> Path:
    """Writes a model in evaluation mode as a self-contained program and returns its path, which ends with `.pt2`.

    The batch of `example_input` (a tensor, a tuple or a dictionary) is dynamic, all other sizes are its own. What the
    model returns in a dataclass, a named tuple or a mapping of its own class, the program returns in a dictionary. The
    file is read again and compared with the model before it replaces an older one; it holds no input of yours. Raises
    `ExportError` where the model cannot be traced, fixes its batch, or the program computes something else.

    >>> sc.save_program(small, example, "half.pt2").name
    'half.pt2'
    """
    path = Path(path)
    if path.suffix != ".pt2":
        raise ExportError(f"the program is to be written to {path.name}, but its name must end with .pt2")
    spec, device = InputSpec.of(example_input), device_of(model)
    dtype = next((tensor.dtype for tensor in model.parameters() if tensor.is_floating_point()), torch.float32)
    args, kwargs = arguments(spec.draw(2, 0, device, dtype))
    shapes = torch.export.ShapesCollection()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    for tensor, known in zip(tensors_in([args, kwargs]), spec.tensors, strict=True):
        if known.batched:
            shapes[tensor] = {0: torch.export.Dim.DYNAMIC}
    hook = model.register_forward_hook(lambda _module, _inputs, result: _plain(result))
    try:
        with evaluating(model), torch.no_grad(), quiet():
            program = torch.export.export(model, args, kwargs, dynamic_shapes=shapes, strict=False)
    except Exception as error:  # a model's forward and the tracer raise nearly anything
        raise ExportError(
            f"the {type(model).__name__} cannot be written as a program for any batch ({first_line(error)}): its "
            "forward must consist of tensor operations, and take the batch from its inputs"
        ) from error
    finally:
        hook.remove()
    _forget_places(program.graph_module)
    with atomic_path(path) as temporary:
        with quiet():
            note = json.dumps({"schema": SCHEMA, "inputs": spec.to_json()})
            content = io.BytesIO()
            torch.export.save(program, content, extra_files={NOTE: note})
        temporary.write_bytes(content.getvalue())
        _check_same(model, _read(temporary, path), spec, dtype)
    return path


def load_program(path: str | Path) -> nn.Module:
    """The model that `save_program` wrote, called in the same way; it cannot be trained or pruned.

    Raises `ExportError` for a file that is missing, damaged or none, and for one that holds code (pickles, libraries).

    >>> path = sc.save_program(small, example, "half.pt2")
    >>> torch.allclose(sc.load_program(path)(example), small(example), atol=1e-6)
    True
    """
    return _read(Path(path), Path(path))


def _plain(result: Any) -> Any:
    """A result in tuples, lists and dictionaries alone, which every process knows."""
    held = members(result)
    if held is None:
        return result
    if isinstance(result, list | tuple) and not hasattr(result, "_fields"):
        return type(result)(_plain(member) for member in result) if type(result) in (list, tuple) else list(result)
    return {name: _plain(member) for name, member in held.items()}


def _forget_places(graph: nn.Module) -> None:
    """Takes the paths of this machine out of a graph."""
    for part in graph.modules():
        if isinstance(part, fx.GraphModule):
            for node in part.graph.nodes:
                node.meta.pop("stack_trace", None)


def _read(path: Path, named: Path) -> nn.Module:
    try:
        with zipfile.ZipFile(path) as archive:
            _check_content(archive, named)
        with quiet():
            program = torch.export.load(io.BytesIO(path.read_bytes()))
    except FileNotFoundError as error:
        raise ExportError(f"there is no program at {named}: write one with sc.save_program") from error
    except ExportError:
        raise
    except Exception as error:  # a damaged archive raises nearly anything
        raise ExportError(f"{named} is not a readable program ({first_line(error)}): write it again") from error
    module: nn.Module = program.module(check_guards=False)  # guards on nested inputs fail in torch 2.14
    return module


def _check_content(archive: zipfile.ZipFile, named: Path) -> None:
    """Raises `ExportError` for an archive that is no program of `save_program`, or would run code as it is loaded."""
    names = archive.namelist()
    note = next((name for name in names if name.endswith(f"/{NOTE}")), None)
    schema = parse_json(archive.read(note)).get("schema") if note else None
    if schema != SCHEMA:
        raise ExportError(f"{named} has the schema {schema!r}, but {SCHEMA!r} is needed: write it with sc.save_program")
    if any("aotinductor" in name or name.endswith(".so") for name in names):
        raise ExportError(f"{named} holds compiled code, which is not loaded: write it with sc.save_program")
    for name in names:
        if name.endswith(".json") and _pickles(parse_json(archive.read(name))):
            raise ExportError(f"{named} holds pickled objects, which is not loaded: write it with sc.save_program")
        if name.endswith(".pt") and archive.getinfo(name).file_size:
            torch.load(io.BytesIO(archive.read(name)), weights_only=True)


def _pickles(content: Any) -> bool:
    if isinstance(content, Mapping):
        return content.get("use_pickle") is True or any(map(_pickles, content.values()))
    return isinstance(content, list) and any(map(_pickles, content))


def _check_same(model: nn.Module, program: nn.Module, spec: InputSpec, dtype: torch.dtype) -> None:
    device = device_of(model)
    for batch in BATCHES:
        inputs = moved(spec.draw(batch, batch, device, dtype), device)
        with evaluating(model), torch.no_grad():
            wanted = tensors_in(call(model, inputs))
            try:
                found = tensors_in(call(program, inputs))
            except Exception as error:  # whatever the program's operations raise
                raise ExportError(
                    f"the program does not run at a batch of {batch} ({first_line(error)}): let the model's forward "
                    "take the batch from its inputs"
                ) from error
        if len(found) != len(wanted) or not all(map(_close, found, wanted)):
            raise ExportError(
                f"the program computes something else than the {type(model).__name__} at a batch of {batch}: it keeps "
                "a number of the traced batch; let the model's forward take the batch from its inputs"
            )


def _close(found: Tensor, wanted: Tensor) -> bool:
    if found.shape != wanted.shape or not wanted.numel():
        return found.shape == wanted.shape
    one, two = found.double(), wanted.double()
    return torch.allclose(one, two, rtol=CLOSE, atol=CLOSE * float(two.abs().nan_to_num().max()), equal_nan=True)
