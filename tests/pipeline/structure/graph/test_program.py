"""The traced program: for any batch, in evaluation mode, with the modules of its nodes."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networkx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, fx, nn

from secateur.core.errors import ModelError
from secateur.core.model_inputs import call
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.graph.program import (
    SAMPLES,
    Ancestry,
    aliases_of,
    exported,
    lengths,
    module_of,
    operation_of,
    place_in_code,
    stack_of,
)


class Outer(nn.Module):
    """A module that calls another twice, and a function of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(self.inner(x)).relu_()
        return out


def test_a_program_runs_for_any_batch_in_evaluation_mode() -> None:
    model = Outer().train()
    model.inner[1].eval()
    program = exported(model, torch.randn(1, 4))
    assert [module.training for module in model.modules()] == [True, True, True, False]
    for batch in (1, 2, 5):
        x = torch.randn(batch, 4)
        torch.testing.assert_close(program.module()(x), [copy_of(model)(x)])


def copy_of(model: nn.Module) -> nn.Module:
    model.eval()
    return model


def test_the_batch_has_the_length_of_the_example() -> None:
    program = exported(Outer(), torch.randn(7, 4))
    outputs = [node.meta["val"] for node in program.graph.nodes if node.op == "call_function"]
    assert {lengths(value) for value in outputs} == {(SAMPLES, 4)}
    assert not any(isinstance(value.shape[0], int) for value in outputs)


def test_the_len_of_a_tensor_is_as_open_as_its_first_length() -> None:
    class Long(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.reshape(len(x), len([1, 2]), -1)

    program = exported(Long(), torch.randn(1, 4))
    assert program.module()(torch.randn(5, 4))[0].shape == (5, 2, 2)
    assert len(torch.zeros(3, 2)) == 3


def test_nodes_know_their_operation_and_their_modules() -> None:
    nodes = [node for node in exported(Outer(), torch.randn(1, 4)).graph.nodes if node.op == "call_function"]
    assert [operation_of(node) for node in nodes] == ["linear", "dropout", "linear", "dropout", "relu_"]
    assert [module_of(node) for node in nodes] == ["inner.0", "inner.1", "inner.0", "inner.1", ""]
    first, second = stack_of(nodes[0]), stack_of(nodes[2])
    assert [path for _, path in first] == [path for _, path in second] == ["", "inner", "inner.0"]
    assert first[1][0] != second[1][0], "another call of the same module"


def test_a_function_that_is_no_operation_of_atens_has_its_own_name() -> None:
    graph = fx.Graph()
    assert operation_of(graph.call_function(copy_of)) == "copy_of"
    assert operation_of(graph.call_function(torch.ops.aten.add.Tensor)) == "add"


def test_shared_tensors_have_the_first_name() -> None:
    model = nn.ModuleDict({"a": nn.Linear(3, 3), "b": nn.Linear(3, 3), "n": nn.BatchNorm1d(3)})
    model["b"].weight = model["a"].weight
    found = aliases_of(model)
    assert found["b.weight"] == found["a.weight"] == "a.weight"
    assert found["b.bias"] == "b.bias"
    assert found["n.running_mean"] == "n.running_mean"


@given(st.integers(2, 12), st.randoms(use_true_random=False))
def test_related_nodes_are_those_with_a_path_between_them(count: int, random: random.Random) -> None:
    graph, reference, ancestry = fx.Graph(), networkx.DiGraph(), Ancestry()
    nodes: list[fx.Node] = []
    for number in range(count):
        sources = random.sample(range(number), min(number, random.randint(0, 2)))
        nodes.append(graph.call_function(torch.add, tuple(nodes[source] for source in sources)))
        reference.add_node(number)
        reference.add_edges_from((source, number) for source in sources)
        ancestry.add(nodes[-1])
    for one in range(count):
        for two in range(count):
            path = networkx.has_path(reference, one, two) or networkx.has_path(reference, two, one)
            assert ancestry.related(nodes[one], nodes[two]) == path


def test_an_example_of_another_size_is_another_program() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    assert exported(model, torch.randn(1, 12)).graph is not None
    with pytest.raises(ModelError, match="cannot run"):
        exported(model, torch.randn(1, 13))


class Odd(nn.Module):
    """A model whose forward is one function of the input and of its layer."""

    def __init__(self, function: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.layer = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.layer, x)


def branching(layer: nn.Module, x: Tensor) -> Tensor:
    return layer(x) if x.mean() > 0 else layer(-x)  # type: ignore[no-any-return]  # a tensor


def counting(layer: nn.Module, x: Tensor) -> Tensor:
    return layer(x * len(x.unique().tolist()))  # type: ignore[no-any-return]  # likewise


def escaping(layer: nn.Module, x: Tensor) -> Tensor:
    return layer(x) + float(x.numpy().sum())  # type: ignore[no-any-return]  # likewise


@pytest.mark.parametrize("function", [branching, counting, escaping])
def test_what_cannot_be_traced_is_said_with_its_place_and_nothing_else(
    function: Callable[[nn.Module, Tensor], Tensor], capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ModelError) as found:
        find_groups(Odd(function).eval(), torch.randn(2, 3, 8, 8))
    said = str(found.value)
    assert said.startswith("the Odd cannot be traced (") and said.endswith("do not depend on the numbers in them")
    assert f"test_program.py:{function.__code__.co_firstlineno + 1} in {function.__name__}, `return layer(" in said
    assert "\n" not in said
    assert capfd.readouterr() == ("", "")


def picking(layer: nn.Module, x: Tensor) -> Tensor:
    found = layer(x)
    return found[found > 0][:4]  # type: ignore[no-any-return]  # likewise


def test_tensors_as_long_as_their_numbers_say_are_named_with_their_place() -> None:
    with pytest.raises(ModelError) as found:
        find_groups(Odd(picking).eval(), torch.randn(2, 3, 8, 8))
    said = str(found.value)
    assert "index in the model itself makes a tensor whose length depends on the numbers in another one" in said
    assert "test_program.py" in said and "in forward, return self.function(self.layer, x)" in said and "\n" not in said


DECIDING = "def decide(x):\n    return x if x.mean() > 0 else -x"


@pytest.mark.parametrize(
    ("file", "place"),
    [
        (f"{Path(torch.__file__).parent}vision/detection.py", "torchvision/detection.py:2 in decide"),
        (f"{Path(torch.__file__).parent}/nn/inner.py", "test_program.py:"),
        ("<string>", "test_program.py:"),
    ],
)
def test_the_place_is_one_that_can_be_looked_at_outside_of_pytorch(file: str, place: str) -> None:
    names: dict[str, Any] = {}
    exec(compile(DECIDING, file, "exec"), names)
    with pytest.raises(ModelError, match=rf"cannot be traced \(.*, at \S*{place}"):
        find_groups(Odd(lambda layer, x: layer(names["decide"](x))).eval(), torch.randn(2, 3, 8, 8))


@pytest.mark.parametrize("around", [nn.DataParallel, torch.compile])
def test_wrappers_are_to_be_taken_off(around: Callable[[nn.Module], nn.Module]) -> None:
    model = around(Odd(lambda layer, x: layer(x)).eval())
    with pytest.raises(ModelError, match=r"around a model cannot be traced: give the model inside, its \.\w+$"):
        find_groups(model, torch.randn(2, 3, 8, 8))


@pytest.mark.parametrize(
    ("inside", "said"),
    [
        (torch.compile(nn.ReLU(), backend="eager"), "1 is compiled, which cannot be traced: put the module inside"),
        (torch.jit.script(nn.ReLU()), "1 is scripted, which cannot be traced: give the module it was made of"),
    ],
)
def test_modules_that_are_compiled_already_are_named(inside: nn.Module, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        exported(nn.Sequential(nn.Linear(3, 4), inside).eval(), torch.randn(2, 3))
    with pytest.raises(ModelError, match="the model is scripted"):
        exported(torch.jit.script(nn.Linear(3, 4)), torch.randn(2, 3))


def test_a_part_that_may_be_traced_alone_is_named() -> None:
    class Detector(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone, self.scores = nn.Linear(3, 40), nn.Linear(40, 2)

        def forward(self, x: Tensor) -> Tensor:
            scores = self.scores(self.backbone(x))
            return scores[scores[:, 0] > 0] if scores.max() > 0 else scores

    class Picking(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            scores = super().forward(input)
            return scores[scores[:, 0] > 0] if scores.max() > 0 else scores

    parts = OrderedDict(backbone=nn.Linear(3, 4), scores=Picking(4, 4), boxes=nn.Linear(4, 40))
    larger = nn.Sequential(parts)  # whose middle part fails, and what comes after it may
    told = r"; or prune a part of it that is so, such as its \.backbone, in its place$"
    for model in (Detector(), larger):
        with pytest.raises(ModelError, match=told):
            exported(model.eval(), torch.randn(2, 3))
    with pytest.raises(ModelError, match=r"do not depend on the numbers in them$"):
        exported(nn.Sequential(Picking(3, 4), nn.ReLU()).eval(), torch.randn(2, 3))


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 1, 8, 8), (2, 3, 2, 2)])
def test_an_example_that_does_not_fit_is_said_to_be_the_cause(shape: tuple[int, ...]) -> None:
    model = Odd(lambda layer, x: layer(x)).eval()
    with pytest.raises(ModelError, match=r"the Odd cannot run on float \[batch, .*an example with the batch first"):
        find_groups(model, torch.randn(*shape))


def test_any_arguments_are_followed() -> None:
    class Any_(Odd):
        def forward(self, *args: Tensor, **kwargs: Tensor) -> Tensor:
            return self.layer(*args, **kwargs)  # type: ignore[no-any-return]  # a tensor

    assert [group.units for group in find_groups(Any_(branching).eval(), torch.randn(2, 3, 8, 8))] == [8]


def test_a_place_in_code_is_never_one_of_secateur() -> None:
    code: dict[str, Any] = {}
    exec(compile("def forward(self, x): return x @ x", "<generated>", "exec"), code)
    Generated = type("Generated", (nn.Module,), {"forward": code["forward"]})
    with pytest.raises(RuntimeError) as raised:
        call(Generated(), torch.zeros(2, 3))  # it goes through a file of secateur, and ends in one of none
    assert f"{Path(__file__).name}:" in place_in_code(raised.value)
    assert place_in_code(raised.value, whole=False).startswith(f", at {Path(__file__).name}:")
