from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from google.protobuf.message import DecodeError
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from secateur.export.runner.errors import InferenceError
from secateur.export.runner.graph_check import check_graph

FLOAT, BOOL = TensorProto.FLOAT, TensorProto.BOOL


def model_of(*nodes: NodeProto, weights: list[TensorProto] | None = None, **parts: object) -> ModelProto:
    """A model from `x` `[2]` to `y`."""
    x, y = (helper.make_tensor_value_info(name, FLOAT, [2]) for name in "xy")
    graph = helper.make_graph(nodes or [helper.make_node("Relu", ["x"], ["y"])], "graph", [x], [y], weights or [])
    return helper.make_model(graph, **parts)


def outside(
    location: str = "weights.data", name: str = "w", dims: tuple[int, ...] = (2,), **more: object
) -> TensorProto:
    """A tensor of floats in a file."""
    tensor = TensorProto(name=name, data_type=FLOAT, dims=dims, data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, **more}.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def in_branch(*nodes: NodeProto, weights: list[TensorProto] | None = None) -> NodeProto:
    """A condition one branch of which has these nodes, which give `z`."""
    then = helper.make_graph(nodes, "then", [], [helper.make_tensor_value_info("z", FLOAT, [2])], weights or [])
    return helper.make_node("If", ["c"], ["y"], then_branch=then, else_branch=helper.make_graph([], "else", [], []))


def as_constant(tensor: TensorProto) -> NodeProto:
    return helper.make_node("Constant", [], ["y"], value=tensor)


def function(name: str, *called: str) -> onnx.FunctionProto:
    nodes = [helper.make_node(word, ["a"], [f"b{i}"], domain="mine") for i, word in enumerate(called)]
    return helper.make_function("mine", name, ["a"], ["b0"], nodes, [helper.make_opsetid("mine", 1)])


def calling(*functions: onnx.FunctionProto) -> ModelProto:
    return model_of(helper.make_node(functions[0].name, ["x"], ["y"], domain="mine"), functions=functions)


def relu(source: str, target: str) -> NodeProto:
    return helper.make_node("Relu", [source], [target])


def sized(*shape: int, kind: str = "ConstantOfShape") -> ModelProto:
    wanted = numpy_helper.from_array(np.array(shape, dtype=np.int64), "s")
    reads = ["s"] if kind == "ConstantOfShape" else ["x", "s"]
    return model_of(helper.make_node(kind, reads, ["y"]), weights=[wanted])


@pytest.fixture
def refused(tmp_path: Path) -> Callable[[ModelProto | bytes], str]:
    """Why a model in a folder with 8 bytes of `weights.data` is refused; empty where it is not."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "weights.data").write_bytes(bytes(8))
    (tmp_path / "secret").write_bytes(bytes(8))
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "inner").symlink_to("weights.data")
    (folder / "sub").mkdir()

    def why(model: ModelProto | bytes) -> str:
        (folder / "model.onnx").write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
        try:
            check_graph(folder / "model.onnx")
        except InferenceError as error:
            assert str(error).startswith(f"{folder / 'model.onnx'} is not a readable ONNX model (")
            assert str(error).endswith("export it again, or get it again from where it was made")
            return str(error)
        return ""

    return why


@pytest.mark.parametrize(
    "model",
    [
        model_of(weights=[outside(), outside("inner", "v", (1,), offset=4, length=4)]),
        model_of(in_branch(as_constant(outside()), weights=[outside(name="v")])),
        model_of(relu("b", "y"), relu("x", "b")),  # not in order
        model_of(in_branch(relu("x", "z")), helper.make_node("Cast", ["x"], ["c"], to=BOOL)),
        calling(function("f", "g", "g"), function("g", "h"), function("h")),
        sized(2, 3),
        sized(4, kind="Expand"),
        model_of(weights=[numpy_helper.from_array(np.zeros((0, 2**40), np.float32), "w")]),
        model_of(helper.make_node("EPContext", ["x"], ["y"], embed_mode=1, ep_cache_context=b"/etc/passwd")),
        model_of(helper.make_node("EPContext", ["x"], ["y"], embed_mode=0, ep_cache_context=b"weights.data")),
    ],
)
def test_accepts_what_runs(refused: Callable[[ModelProto | bytes], str], model: ModelProto) -> None:
    assert refused(model) == ""


PLACES = {
    "weights": lambda tensor: model_of(weights=[tensor]),
    "constant": lambda tensor: model_of(as_constant(tensor)),
    "tensors": lambda tensor: model_of(helper.make_node("Mine", ["x"], ["y"], values=[tensor])),
    "branch": lambda tensor: model_of(in_branch(relu("x", "z"), weights=[tensor])),
    "branch's constant": lambda tensor: model_of(in_branch(in_branch(as_constant(tensor)))),
    "function": lambda tensor: calling(
        helper.make_function("mine", "f", ["a"], ["y"], [as_constant(tensor)], [helper.make_opsetid("", 18)])
    ),
    "default of a function": lambda tensor: calling(
        helper.make_function(
            *("mine", "f", ["a"], ["y"], [], [helper.make_opsetid("", 18)]),
            attribute_protos=[helper.make_attribute("v", tensor)],
        )
    ),
    "sparse": lambda tensor: model_of(
        helper.make_node("Constant", [], ["y"], sparse_value=onnx.SparseTensorProto(values=tensor, dims=[2]))
    ),
    "sparse weights": lambda tensor: _sparse(tensor),
    "training": lambda tensor: _training(tensor),
}


def _sparse(tensor: TensorProto) -> ModelProto:
    model = model_of()
    model.graph.sparse_initializer.add().indices.CopyFrom(tensor)
    return model


def _training(tensor: TensorProto) -> ModelProto:
    model = model_of()
    model.training_info.add().algorithm.initializer.append(tensor)
    return model


@pytest.mark.parametrize("place", PLACES)
def test_finds_files_outside_everywhere(refused: Callable[[ModelProto | bytes], str], place: str) -> None:
    assert refused(PLACES[place](outside())) == ""
    assert "'../secret', but files that a graph reads lie beside it" in refused(PLACES[place](outside("../secret")))


@pytest.mark.parametrize(
    ("tensor", "said"),
    [
        *((outside(word), "files that a graph reads lie beside it") for word in ("/etc/passwd", "..", ".", "")),
        *((outside(word), "lie beside it, named") for word in ("sub/x", "sub\\x", "C:x", "./weights.data", "x\0")),
        (outside("*/_ORT_MEM_ADDR_/*", offset=1), "lie beside it, named"),
        (outside("a" * 256), "lie beside it, named"),
        (outside("missing"), "'missing', which is no file beside it"),
        (outside("sub"), "'sub', which is no file beside it"),
        (outside("link"), "'link', a link that leads out of the folder"),
        (outside(offset=4), "takes 8 bytes from 4 on of weights.data, which has 8"),
        (outside(length=9), "takes 9 bytes from 0 on of weights.data, which has 8"),
        (outside(length=4), "needs 8 bytes, but names 4 of weights.data"),
        (outside(dims=(3,)), "takes 12 bytes from 0 on"),
        (outside(offset=-4), "from the place '-4' of a file"),
        (outside(offset="9" * 5000), "from the place '9999"),
        (outside(length="x"), "from the place 'x' of a file"),
    ],
)
def test_refuses_files_elsewhere(refused: Callable[[ModelProto | bytes], str], tensor: TensorProto, said: str) -> None:
    assert said in refused(model_of(weights=[tensor]))


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (b"", "it has 0 bytes"),
        (b"no model at all", "is of the kind|is cut off"),
        (ModelProto(ir_version=9), "it holds no graph"),
        (model_of().SerializeToString()[:-3], "is cut off"),
        (model_of(relu("y", "y")), "gives 'y' waits for its own output, in a circle"),
        (model_of(relu("b", "y"), relu("y", "b")), "in a circle"),
        (model_of(in_branch(relu("y", "z"))), "in a circle"),
        (model_of(in_branch(relu("a", "z"), relu("z", "a"))), "in a circle"),
        (calling(function("f", "f")), "the function 'f' calls itself"),
        (calling(function("f", "g"), function("g", "f")), "the function 'f' calls itself"),
        (calling(function("f"), function("g", "g")), "the function 'g' calls itself"),
        (calling(function("f"), function("f")), "defines the function 'f' twice"),
        (calling(*(function(f"f{i}", *[f"f{i + 1}"] * 10) for i in range(9))), "functions unfold to"),
        (calling(*(function(f"f{i}", f"f{i + 1}") for i in range(40))), "call each other more than 30 deep"),
        (sized(2**20, 2**20), r"the output of 'ConstantOfShape' has the shape \[1048576, 1048576\]"),
        (sized(2**62, kind="Expand"), "the output of 'Expand'"),
        (sized(-1), r"has the shape \[-1\]"),
        (model_of(weights=[TensorProto(name="w", data_type=FLOAT, dims=[2**40])]), "the tensor 'w' has the shape"),
        (model_of(weights=[TensorProto(name="w", data_type=FLOAT, dims=[-2])]), "the tensor 'w' has the shape"),
        (model_of(weights=[TensorProto(name="w", data_type=FLOAT, dims=[9], raw_data=bytes(8))]), "9 numbers"),
        (model_of(weights=[TensorProto(name="w", data_type=FLOAT, dims=[999], float_data=[1.0])]), "999 numbers"),
        (model_of(helper.make_node("EPContext", ["x"], ["y"], embed_mode=0, ep_cache_context=b"../x")), "'../x'"),
        (model_of(helper.make_node("EPContext", ["x"], ["y"], embed_mode=0)), "a compiled node is read from ''"),
    ],
)
def test_refuses_graphs_without_end(
    refused: Callable[[ModelProto | bytes], str], model: ModelProto | bytes, said: str
) -> None:
    assert re.search(said, refused(model))


def test_refuses_huge_values_and_deep_graphs(refused: Callable[[ModelProto | bytes], str]) -> None:
    for place in ("input", "output", "value_info"):
        model = model_of()
        getattr(model.graph, place).append(helper.make_tensor_value_info("v", FLOAT, ["n", 2**17, 2**17]))
        assert "the value 'v' has the shape [131072, 131072]" in refused(model)
    node = relu("x", "z")
    for _ in range(31):
        node = in_branch(node)
        node.output[0] = "z"
    assert "its graphs lie in each other more than 30 deep" in refused(model_of(node))


def test_refuses_a_second_value_that_protobuf_would_merge(refused: Callable[[ModelProto | bytes], str]) -> None:
    inner = AttributeProto(t=TensorProto(dims=[1])).SerializeToString()
    node = as_constant(TensorProto(name="v")).SerializeToString()
    one = NodeProto.FromString(node).attribute[0].SerializeToString() + inner
    graph = GraphProto(node=[NodeProto(op_type="Constant", output=["y"])]).SerializeToString()
    whole = b"\x0a" + bytes([len(graph) - 2 + 2 + len(one)]) + graph[2:] + b"\x2a" + bytes([len(one)]) + one
    assert len(GraphProto.FromString(whole).node[0].attribute) == 1
    assert "an attribute has two values" in refused(b"\x3a" + bytes([len(whole)]) + whole)


def test_refuses_what_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "endless.onnx").symlink_to("/dev/zero")
    for path in (tmp_path, tmp_path / "endless.onnx", tmp_path / "none.onnx"):
        with pytest.raises(InferenceError, match=r"\((it is no file|there is none)\)"):
            check_graph(path)


def locations(message: Any) -> Iterator[str]:
    """The files of all tensors in a message, by its descriptors."""
    if isinstance(message, TensorProto):
        yield from (entry.value for entry in message.external_data if entry.key == "location")
    for field, value in message.ListFields():
        if field.message_type is not None:
            for one in value if isinstance(value, Sequence) else [value]:
                yield from locations(one)


def test_accepts_damaged_graphs_only_where_all_files_lie_beside(refused: Callable[[ModelProto | bytes], str]) -> None:
    whole = model_of(in_branch(relu("x", "z"), weights=[outside()]), weights=[outside(name="v")]).SerializeToString()
    draws, read, accepted = random.Random(0), 0, 0
    for _ in range(400):
        data = bytearray(whole)
        for _ in range(draws.randint(1, 3)):
            data[draws.randrange(len(data))] = draws.randrange(256)
        with suppress(DecodeError):
            model = ModelProto.FromString(bytes(data))
            read += 1
            if not refused(bytes(data)):
                accepted += 1
                assert set(locations(model)) <= {"weights.data", "inner"}, bytes(data)
    assert 10 < accepted < read
