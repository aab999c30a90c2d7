"""Models of the export tests, and their ONNX files, exported once."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn

from secateur.export.bundle.contents import Contents
from secateur.export.bundle.make import write_bundle
from secateur.export.onnx_info import OnnxInfo
from secateur.export.precision import PRECISIONS
from secateur.export.quantize.quantize import Quantized, quantize_onnx
from secateur.export.to_onnx import export_onnx
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.plan import plan_from_kept
from secateur.pipeline.structure.surgery import prune
from tests.conftest import make_vit
from tests.export.small_bundle import make_contents

needs_rtx = pytest.mark.skipif(find_spec("tensorrt_rtx") is None, reason="tensorrt_rtx is not installed")
needs_ort = pytest.mark.skipif(find_spec("onnxruntime") is None, reason="onnxruntime is not installed")

SHAPE = (3, 32, 32)
Batches = list[tuple[Tensor, Tensor]]


class Cnn(nn.Module):
    """A small CNN with the operations of timm's convolutional families."""

    def __init__(self, width: int = 8, classes: int = 4) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        x = x + nn.functional.hardswish(self.depthwise(x))
        return self.head(x.mean((2, 3)))


class TwoOutputs(nn.Module):
    """Logits and features, as a mapping, with a nested pair."""

    def __init__(self) -> None:
        super().__init__()
        self.cnn = Cnn()

    def forward(self, x: Tensor) -> dict[str, Tensor | tuple[Tensor, Tensor]]:
        return {"logits": self.cnn(x), "maps": (x.mean(1), x.flatten(1))}


def small_vit() -> nn.Module:
    """A timm ViT with two blocks whose logits are of order one."""
    torch.manual_seed(0)
    model = timm.create_model(
        "vit_tiny_patch16_224", img_size=32, patch_size=8, embed_dim=64, depth=2, num_heads=2, num_classes=10
    )
    for parameter in model.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.1)
        else:  # equal biases would become one tensor in the graph
            parameter.data += 0.1 * torch.randn_like(parameter)
    return model.eval()


@pytest.fixture(scope="session")
def transformer() -> nn.Module:
    return small_vit()


@pytest.fixture(scope="session")
def ragged() -> nn.Module:
    """A pruned ViT: three heads of unequal widths in its first block, two equal ones in its second, odd MLPs."""
    vit = make_vit()
    groups = find_groups(vit, torch.zeros(1, 3, 16, 16))
    widths = {"blocks.0.attn.qk": (3, 16, 8), "blocks.0.attn.v": (5, 1, 16)}
    kept = {
        name: [16 * head + unit for head, size in enumerate(sizes) for unit in range(size)]
        for name, sizes in widths.items()
    }
    kept |= {"blocks.1.attn.heads": [0, 2], "blocks.0.mlp.hidden": list(range(37)), "blocks.1.mlp.hidden": [1]}
    small = prune(vit, plan_from_kept(groups, kept), groups)
    assert (small.blocks[0].attn.qk_dims, small.blocks[0].attn.v_dims) == ((3, 16, 8), (5, 1, 16))
    return small


@pytest.fixture(scope="session")
def exported(transformer: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> dict[str, OnnxInfo]:
    """The transformer as ONNX in each precision, with a note of ours."""
    folder = tmp_path_factory.mktemp("onnx")
    return {
        precision: export_onnx(
            transformer,
            folder / f"model.{precision}.onnx",
            input_shape=SHAPE,
            precision=precision,
            metadata={"plan": "half"},
        )
        for precision in PRECISIONS
    }


@pytest.fixture(scope="session")
def onnx_files(exported: dict[str, OnnxInfo]) -> dict[str, Path]:
    """The files of `exported`."""
    return {precision: info.path for precision, info in exported.items()}


@pytest.fixture(scope="session")
def ragged_onnx(ragged: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ragged model as ONNX."""
    return export_onnx(ragged, tmp_path_factory.mktemp("ragged") / "model.onnx", input_shape=(3, 16, 16)).path


@pytest.fixture(scope="session")
def cnn() -> nn.Module:
    """The model of `cnn_onnx`."""
    torch.manual_seed(0)
    return Cnn().eval()


@pytest.fixture(scope="session")
def cnn_onnx(cnn: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small CNN as ONNX, exported with an example of one image of 8 x 8."""
    return export_onnx(cnn, tmp_path_factory.mktemp("cnn") / "model.onnx", torch.zeros(1, 3, 8, 8)).path


@pytest.fixture(scope="session")
def images() -> Batches:
    """Two batches of eight noisy images with a pattern of their own each."""
    generator = torch.Generator().manual_seed(7)
    return [(torch.randn(8, *SHAPE, generator=generator), torch.arange(8)) for _ in range(2)]


@pytest.fixture(scope="session")
def fp32(onnx_files: dict[str, Path]) -> Path:
    """The transformer's graph."""
    return onnx_files["fp32"]


@pytest.fixture(scope="session")
def int8(fp32: Path, images: Batches, tmp_path_factory: pytest.TempPathFactory) -> tuple[OnnxInfo, Quantized]:
    """The transformer's graph in int8."""
    return quantize_onnx(fp32, tmp_path_factory.mktemp("int8") / "model.int8.onnx", images)


@pytest.fixture(scope="session")
def contents(tmp_path_factory: pytest.TempPathFactory) -> Contents:
    """What goes into the bundle of a linear model."""
    return make_contents(tmp_path_factory.mktemp("contents"))


@pytest.fixture(scope="session")
def made_bundle(contents: Contents, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of a linear model as a folder; nobody may change it."""
    folder = tmp_path_factory.mktemp("made") / "linear"
    write_bundle(contents, folder)
    return folder


@pytest.fixture
def bundle(made_bundle: Path, tmp_path: Path) -> Path:
    """A copy of the bundle that a test may change."""
    return Path(shutil.copytree(made_bundle, tmp_path / "linear"))
