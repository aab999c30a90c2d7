"""A module with new code keeps all else: its class, attributes, parts that the code does not use, hooks, copies."""

from __future__ import annotations

import copy
import inspect
import io
import pickle

import pytest
import torch
from torch import Tensor, fx, nn

from secateur.core.errors import SurgeryError
from secateur.pipeline.structure.codegen.conditions import check_arguments
from secateur.pipeline.structure.codegen.written_module import WrittenModule, in_blocks, write_forward
from secateur.pipeline.structure.graph.regions import autocast_of, end_of


class Root(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.heads = 4
        self.used, self.unused = nn.Linear(3, 3), nn.Linear(3, 2)
        self.scale = nn.Parameter(torch.ones(3))
        self.register_buffer("counts", torch.zeros(2))
        self.register_buffer("cache", torch.zeros(2), persistent=False)

    @property
    def doubled(self) -> int:
        return self.heads * 2

    def forward(self, x: Tensor) -> Tensor:
        return x


class Choosing(Root):
    """Chooses its forward function when it is made, as some of timm's modules do."""

    def __init__(self) -> None:
        super().__init__()
        self.forward = self.one_way  # type: ignore[method-assign]  # what this test is about

    def one_way(self, x: Tensor) -> Tensor:
        return x + 1


def written(root: Root) -> Root:
    graph = fx.Graph()
    x = graph.placeholder("x")
    graph.call_function(check_arguments, ("root", {"x": x}, {}, (("x", 1, 3),), (), (), ()))
    graph.output(graph.call_function(torch.ops.aten.mul.Tensor, (graph.call_module("used", (x,)), 2)))
    write_forward(root, graph)
    return root


COPIES = {"itself": lambda root: root, "copy": copy.deepcopy, "pickle": lambda root: pickle.loads(pickle.dumps(root))}


@pytest.mark.parametrize("kind", [Root, Choosing])
@pytest.mark.parametrize("copied", list(COPIES))
def test_all_but_the_code_is_as_it_was(copied: str, kind: type[Root]) -> None:
    root = kind().eval()
    root.unused.train()
    keys, used = list(root.state_dict()), copy.deepcopy(root.used)
    found: Root = COPIES[copied](written(root))
    assert isinstance(found, kind) and isinstance(found, WrittenModule) and type(found).__name__ == kind.__name__
    assert (found.heads, found.doubled) == (4, 8)
    assert list(found.state_dict()) == keys
    assert [name for name, _ in found.named_children()] == ["used", "unused"]
    assert dict(found.named_buffers()).keys() == {"counts", "cache"}
    assert not found.training and found.get_submodule("unused").training
    x = torch.randn(2, 3)
    assert torch.equal(found(x), used(x) * 2)
    with pytest.raises(SurgeryError, match="taken over for one size"):
        found(torch.randn(2, 4))


def test_copies_have_parts_of_their_own() -> None:
    found = written(Root())
    other = copy.deepcopy(found)
    assert other.unused is not found.unused
    assert torch.equal(other.unused.weight, found.unused.weight)


def test_hooks_stay() -> None:
    root, seen = Root(), []
    root.register_forward_hook(lambda *_: seen.append(1))
    written(root)(torch.randn(1, 3))
    assert seen == [1]


def test_other_modules_of_the_class_keep_their_code() -> None:
    x = torch.randn(2, 3)
    written(Root())
    assert torch.equal(Root()(x), x)


def test_code_can_be_written_again_and_is_read_like_any_other() -> None:
    found = pickle.loads(pickle.dumps(written(Root())))
    graph = copy.deepcopy(found.written_graph)
    assert [node.op for node in graph.nodes] == [node.op for node in written(Root()).written_graph.nodes]
    (scaled,) = [node for node in graph.nodes if node.target is torch.ops.aten.mul.Tensor]
    scaled.args = (scaled.args[0], 3)
    write_forward(found, graph)
    x = torch.randn(2, 3)
    assert torch.equal(found(x), found.used(x) * 3)
    assert type(found).mro().count(WrittenModule) == 1
    assert "torch.ops.aten.mul.Tensor(used, 3)" in inspect.getsource(type(found).forward)


def test_a_whole_model_is_saved_by_torch() -> None:
    model, x = nn.Sequential(written(Root()), nn.Linear(3, 2)), torch.randn(2, 3)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    assert torch.equal(torch.load(file, weights_only=False)(x), model(x))


REGION = """def forward(self, x):
    autocast_of = regions_autocast_of(x, None, False)
    add = torch.ops.aten.add.Tensor(x, 1);  x = None
    autocast_of_1 = regions_autocast_of('cpu', None, True)
    end_of = regions_end_of(autocast_of_1);  autocast_of_1 = end_of = None
    gradients = regions_gradients(False)
    mul = add * 2;  add = None
    end_of_1 = regions_end_of(gradients);  gradients = end_of_1 = None
    end_of_2 = regions_end_of(autocast_of);  autocast_of = end_of_2 = None
    return mul
"""
BLOCKS = """def forward(self, x):
    with regions_autocast_of(x, None, False):
        add = torch.ops.aten.add.Tensor(x, 1);  x = None
        with regions_autocast_of('cpu', None, True):
            pass
        with regions_gradients(False):
            mul = add * 2;  add = None
    return mul
"""


def test_regions_are_blocks() -> None:
    assert in_blocks(REGION) == BLOCKS
    assert in_blocks(BLOCKS) == BLOCKS


@pytest.mark.parametrize("copied", list(COPIES))
def test_autocast_is_as_before_within_a_region_and_after_an_error_in_it(copied: str) -> None:
    torch.manual_seed(0)
    root, graph = Root(), fx.Graph()
    x = graph.placeholder("x")
    first = graph.call_function(autocast_of, (x, torch.bfloat16, True))
    used = graph.call_module("used", (x,))
    graph.call_function(end_of, (first,))
    graph.output(used)
    write_forward(root, graph)
    found = COPIES[copied](root)
    assert found(torch.ones(2, 3)).dtype == torch.bfloat16
    with pytest.raises(RuntimeError):
        found(torch.ones(2, 4))
    assert not torch.is_autocast_enabled("cpu")
    targets = [node.target for node in found.written_graph.nodes if node.op == "call_function"]
    assert targets == [autocast_of, end_of]
