"""Exported programs in the operators that the ONNX exporter knows, with the same outputs."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.export import ExportedProgram

import secateur as sc
from secateur.kernels.fuse import KERNELS
from secateur.kernels.onnx_program import lowered
from tests.kernels.models import image, pruned_swin


def operators(program: ExportedProgram) -> list[str]:
    """The names of our operators, and of ONNX's, in a program."""
    names = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    return [name for name in names if name.startswith(("secateur.", "onnx_symbolic", "onnx."))]


@pytest.fixture(scope="module")
def programs(small: nn.Module) -> dict[str, ExportedProgram]:
    batch = ({0: torch.export.Dim.DYNAMIC},)
    models = {"vit": sc.fuse(small, KERNELS), "swin": sc.fuse(pruned_swin("head"), KERNELS)}
    return {name: torch.export.export(model, (image(),), dynamic_shapes=batch) for name, model in models.items()}


@pytest.mark.parametrize("name", ["vit", "swin"])
def test_our_operators_are_written_out(programs: dict[str, ExportedProgram], name: str) -> None:
    program = programs[name]
    assert any(operator.startswith("secateur.") for operator in operators(program))
    written = lowered(program, keep_attention=False)
    assert operators(written) == []
    with torch.no_grad():
        for size in (2, 5):
            torch.testing.assert_close(written.module()(image(size)), program.module()(image(size)))


def test_attention_is_kept_as_a_node(programs: dict[str, ExportedProgram]) -> None:
    kept = operators(lowered(programs["vit"], keep_attention=True))
    assert len(kept) == 2
    assert not any(operator.startswith("secateur.") for operator in kept)


def test_windows_are_written_out_even_where_attention_is_kept(programs: dict[str, ExportedProgram]) -> None:
    assert operators(lowered(programs["swin"], keep_attention=True)) == []
