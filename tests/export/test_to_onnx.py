"""Export: names, shapes, a really dynamic batch, silence, and models and files that stay as they were."""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path

import onnx
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from secateur.core.errors import ExportError
from secateur.export import graph_file
from secateur.export.onnx_info import OnnxInfo
from secateur.export.parity import check_parity
from secateur.export.to_onnx import export_onnx
from secateur.pipeline.structure.groups import Groups
from secateur.pipeline.structure.plan import plan_from_kept
from secateur.pipeline.structure.surgery import prune
from tests.export.conftest import SHAPE, Cnn, TwoOutputs, needs_ort
from tests.signatures import towers, towers_inputs


def test_names_shapes_and_metadata(exported: dict[str, OnnxInfo]) -> None:
    info = exported["fp32"]
    assert [str(tensor) for tensor in info.inputs] == ["input float32 [batch, 3, 32, 32]"]
    assert [str(tensor) for tensor in info.outputs] == ["logits float32 [batch, 10]"]
    assert (info.opset, info.precision, info.external) == (20, "fp32", "")
    assert info.size_bytes == info.path.stat().st_size
    model = onnx.load(str(info.path))
    notes = {entry.key: entry.value for entry in model.metadata_props}
    assert notes["secateur.input_shape"] == "3x32x32"
    assert notes["secateur.plan"] == "half"
    assert notes["secateur.version"]
    weights = {tensor.name for tensor in model.graph.initializer}
    assert "blocks.0.norm1.weight" in weights
    assert not any(name.startswith("model.") for name in weights)
    modules = {entry.value for node in model.graph.node for entry in node.metadata_props}
    assert {"patch_embed.proj", "blocks.1.mlp.fc2", "head"} <= modules


def test_the_shape_is_the_one_that_the_model_was_built_for(transformer: nn.Module, tmp_path: Path) -> None:
    info = export_onnx(transformer, tmp_path / "model.onnx")
    assert str(info.inputs[0]) == "input float32 [batch, 3, 32, 32]"


def test_every_intermediate_shape_follows_the_batch(onnx_files: dict[str, Path]) -> None:
    graph = onnx.load(str(onnx_files["fp32"])).graph
    names = {dim.dim_param for value in graph.value_info for dim in value.type.tensor_type.shape.dim if dim.dim_param}
    assert names == {"batch"}


@needs_ort
def test_the_batch_of_the_example_leaves_no_trace(cnn: nn.Module, cnn_onnx: Path, tmp_path: Path) -> None:
    export_onnx(cnn, tmp_path / "three", torch.randn(3, 3, 8, 8))
    assert (tmp_path / "three").read_bytes() == cnn_onnx.read_bytes()  # of an example of one
    check_parity(cnn, cnn_onnx, batches=(1, 2, 3, 4, 7))


@needs_ort
@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(width=st.integers(1, 9), height=st.integers(5, 20), side=st.integers(5, 20), batch=st.integers(1, 9))
def test_parity_for_any_shape(tmp_path: Path, width: int, height: int, side: int, batch: int) -> None:
    model = Cnn(width).eval()
    info = export_onnx(model, tmp_path / "model.onnx", input_shape=(3, height, side))
    assert info.inputs[0].shape == (-1, 3, height, side)
    parity = check_parity(model, info.path, batches=(batch,))
    assert parity.worst.relative <= 1e-4


@needs_ort
def test_several_outputs_keep_their_names_and_order(tmp_path: Path) -> None:
    model = TwoOutputs()
    info = export_onnx(model, tmp_path / "model.onnx", input_shape=(3, 8, 8))
    assert [tensor.name for tensor in info.outputs] == ["logits", "maps_0", "maps_1"]
    assert [tensor.shape for tensor in info.outputs] == [(-1, 4), (-1, 8, 8), (-1, 192)]
    check_parity(model, info.path)


@needs_ort
def test_heads_of_different_sizes(ragged: nn.Module, ragged_onnx: Path) -> None:
    assert check_parity(ragged, ragged_onnx).worst.relative <= 1e-4
    assert {node.domain for node in onnx.load(str(ragged_onnx)).graph.node} == {""}


def test_the_model_is_left_as_it_was(tmp_path: Path) -> None:
    model = Cnn().train()
    model.norm.eval()
    model.norm.weight.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for precision in ("fp32", "fp16"):
        export_onnx(model, tmp_path / "model.onnx", input_shape=(3, 8, 8), precision=precision)
    assert [module.training for module in model.modules()] == [True, True, False, True, True]
    assert not model.norm.weight.requires_grad
    assert model.head.weight.requires_grad
    after = model.state_dict()
    assert all(
        torch.equal(tensor, after[name]) and tensor.dtype == after[name].dtype for name, tensor in before.items()
    )


def test_exporting_twice_gives_the_same_bytes_and_no_path_of_this_machine(
    transformer: nn.Module, onnx_files: dict[str, Path], tmp_path: Path
) -> None:
    again = export_onnx(transformer, tmp_path / "a" / "again.onnx", input_shape=SHAPE, metadata={"plan": "half"})
    content = again.path.read_bytes()
    assert content == onnx_files["fp32"].read_bytes()
    assert b"site-packages" not in content
    assert str(Path(__file__).parents[2]).encode() not in content


def test_export_is_silent(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        export_onnx(Cnn(), tmp_path / "model.onnx", input_shape=(3, 8, 8))
        with pytest.raises(ExportError):
            export_onnx(_Branch(), tmp_path / "model.onnx", input_shape=(3, 8, 8))
    assert capfd.readouterr() == ("", "")


class _Branch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if bool(x.sum() > 0) else 2 * x


class _FixedBatch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(2, -1)


class _MergedBatch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(0, 1)


class _Scalar(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean()


class _Clamps(nn.Module):
    """Several clamps of one value, each with bounds of its own: Gemma 4's linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.low = nn.Buffer(torch.tensor([-0.5, -0.7, -0.9]))
        self.high = nn.Buffer(torch.tensor([0.4, 0.6, 0.8]))

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([torch.clamp(x, low, high) for low, high in zip(self.low, self.high, strict=True)], dim=1)


@needs_ort
def test_clamps_of_one_value_keep_their_bounds(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    export_onnx(_Clamps(), path, input_shape=(8,))
    check_parity(_Clamps(), path)


class _Text(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, str]:
        return x, "cat"


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (_Branch(), "PyTorch cannot export the model"),
        (_FixedBatch(), "does not follow the batch"),
        (_MergedBatch(), "does not follow the batch"),
        (_Scalar(), "has no dimensions"),
        (_Text(), "returns str for output_1"),
        (Cnn().half(), "starts from float32"),
        (nn.Linear(7, 2), r"cannot run on the input float \[batch, 3, 8, 8\]"),
    ],
)
def test_what_cannot_be_exported_is_said_and_leaves_the_old_file(model: nn.Module, words: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"old")
    with pytest.raises(ExportError, match=words):
        export_onnx(model, path, input_shape=(3, 8, 8))
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_shape_that_nobody_knows(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="give an example or input_shape"):
        export_onnx(Cnn(), tmp_path / "model.onnx")


@needs_ort
def test_weights_too_large_for_one_file_lie_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.onnx"
    monkeypatch.setattr(graph_file, "EMBED_LIMIT_BYTES", 1000)
    model = Cnn(64)
    info = export_onnx(model, path, input_shape=(3, 8, 8))
    assert sorted(file.name for file in tmp_path.iterdir()) == [path.name, info.external]
    assert info.size_bytes == sum(file.stat().st_size for file in tmp_path.iterdir())
    check_parity(model, path)


def test_names_and_batches_of_several_inputs_are_kept(tmp_path: Path) -> None:
    model, example = towers(), towers_inputs()
    info = export_onnx(model, tmp_path / "model.onnx", example)
    assert list(map(str, info.inputs)) == [
        "pixels float32 [batch, 3, 16, 16]",
        "ids int64 [batch, 5]",
        "mask int64 [batch, 5]",
        "scale_0 float32 []",
    ]
    outputs = ["image float32 [batch, 12]", "text_text float32 [batch, 12]", "similarity float32 [batch]"]
    assert list(map(str, info.outputs)) == outputs
    assert check_parity(model, info.path, batches=(1, 5)).worst.relative < 1e-5
    with torch.no_grad():
        model.tokens.weight[1:] += 1
    with pytest.raises(ExportError, match="'text_text' is off"):
        check_parity(model, info.path)
    with pytest.raises(ExportError, match=r"cannot run on the inputs of model.onnx"):
        check_parity(nn.Flatten(), info.path)


class Compared(nn.Module):
    """Every text with every picture: the samples of the two never meet."""

    def __init__(self) -> None:
        super().__init__()
        self.pictures, self.texts = nn.Linear(4, 6), nn.Linear(3, 6)

    def forward(self, pictures: Tensor, texts: Tensor) -> dict[str, Tensor]:
        similarity = self.pictures(pictures) @ self.texts(texts).mT
        return {"by_picture": similarity, "by_text": similarity.mT}


def test_inputs_whose_samples_never_meet_have_one_batch(tmp_path: Path) -> None:
    model = Compared().eval()
    info = export_onnx(model, tmp_path / "model.onnx", (torch.randn(2, 4), torch.randn(2, 3)))
    assert list(map(str, info.inputs)) == ["pictures float32 [batch, 4]", "texts float32 [batch, 3]"]
    assert str(info.outputs[0]) == "by_picture float32 [batch, batch]"
    assert check_parity(model, info.path, batches=(1, 4)).worst.relative < 1e-5


@needs_ort
def test_of_a_layer_that_is_gone_the_graph_has_its_constant_alone(
    vit: nn.Module, vit_groups: Groups, tmp_path: Path
) -> None:
    gone = {"blocks.0.mlp.hidden": (), "blocks.1.attn.heads": ()}
    small = prune(vit, plan_from_kept(vit_groups, gone), vit_groups)
    info = export_onnx(small, tmp_path / "model.onnx")
    check_parity(small, info.path)
    graph = onnx.load(str(info.path)).graph
    weights = {tensor.name for tensor in graph.initializer}
    of_layers = {name for name in weights if name.startswith(("blocks.0.mlp", "blocks.0.norm2"))}
    of_layers |= {name for name in weights if name.startswith(("blocks.1.attn", "blocks.1.norm1"))}
    assert of_layers == {"blocks.0.mlp.fc2.bias", "blocks.1.attn.proj.bias"}
    counts = Counter(node.op_type for node in graph.node)
    assert (counts["LayerNormalization"], counts["Softmax"], counts["Gelu"]) == (3, 1, 1)
    assert counts["ConstantOfShape"] == 0
