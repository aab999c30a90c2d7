"""Vision models that timm did not make, small and with random weights, by the library that makes them.

Each is a function without arguments that returns the model and an example of its input: a tensor `[1, ...]`, a tuple of
positional inputs, or a dictionary of keyword inputs. `own` models are written here, after the blocks that people have.
"""

from __future__ import annotations

import functools
import importlib
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Made = tuple[nn.Module, Any]
"""A model and an example of its input."""


def picture(size: int, channels: int = 3) -> Tensor:
    """A seeded normal image `[1, channels, size, size]`."""
    return torch.randn(1, channels, size, size, generator=torch.Generator().manual_seed(0))


def _torchvision(name: str, size: int, **options: Any) -> Made:
    """A classifier or segmenter of torchvision."""
    from torchvision import models

    return models.get_model(name, weights=None, **options), picture(size)


def _segmenter(name: str, size: int) -> Made:
    return _torchvision(name, size, weights_backbone=None, num_classes=21)


def _pyramid(name: str, size: int) -> Made:
    """A detection backbone: a ResNet with a feature pyramid, which returns a dictionary of five maps."""
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

    return resnet_fpn_backbone(backbone_name=name, weights=None, trainable_layers=5), picture(size)


def _single_shot(size: int) -> Made:
    """The backbone of the single-shot detector SSD300, which returns a dictionary of six maps."""
    from torchvision.models.detection import ssd300_vgg16

    return ssd300_vgg16(weights=None, weights_backbone=None).backbone, picture(size)


def _transformers(kind: str, suffix: str, size: int, **options: Any) -> Made:
    """A model of transformers by the names of its configuration and class, with keyword inputs."""
    import transformers

    config = getattr(transformers, f"{kind}Config")(**options)
    return getattr(transformers, f"{kind}{suffix}")(config), {"pixel_values": picture(size)}


def _clip_towers() -> Made:
    """Both towers of CLIP: pictures and token numbers in, their similarities out."""
    import transformers

    tower = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = transformers.CLIPConfig(
        text_config={**tower, "vocab_size": 99, "max_position_embeddings": 16, "eos_token_id": 98},
        vision_config={**tower, "image_size": 32, "patch_size": 8},
        projection_dim=32,
    )
    tokens = torch.tensor([[1, 5, 7, 9, 98]])
    return transformers.CLIPModel(config), {"input_ids": tokens, "pixel_values": picture(32)}


def _smp(kind: str, encoder: str, size: int) -> Made:
    library = importlib.import_module("segmentation_models_pytorch")
    return getattr(library, kind)(encoder, encoder_weights=None, classes=4), picture(size)


def _open_clip(tower: str) -> Made:
    """The vision or the text tower of a small CLIP of open_clip."""
    model = importlib.import_module("open_clip").CLIP(
        embed_dim=32,
        vision_cfg={"image_size": 32, "patch_size": 8, "width": 64, "layers": 2, "head_width": 16},
        text_cfg={"context_length": 12, "vocab_size": 99, "width": 64, "heads": 4, "layers": 2},
    )
    if tower == "vision":
        return model.visual, picture(32)
    return TextTower(model), torch.tensor([[1, 5, 7, 9, 11, 98, 0, 0, 0, 0, 0, 0]])


class TextTower(nn.Module):
    """The text half of a CLIP model: token numbers `[B, T]` in, embeddings `[B, D]` out."""

    def __init__(self, clip: Any) -> None:
        super().__init__()
        self.clip = clip
        self.clip.visual = nn.Identity()

    def forward(self, text: Tensor) -> Tensor:
        """The embeddings of texts."""
        found: Tensor = self.clip.encode_text(text)
        return found


def convolution(inputs: int, outputs: int, kernel: int = 1, stride: int = 1) -> nn.Sequential:
    """Convolution, batch normalisation and SiLU."""
    layers = (nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outputs), nn.SiLU())
    return nn.Sequential(*layers)


class CrossStage(nn.Module):
    """A cross-stage block as in YOLOv8: one half passes, the other goes through bottlenecks, all states are joined."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        half = width // 2
        self.first, self.last = convolution(width, width), convolution((2 + depth) * half, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(convolution(half, half, 3), convolution(half, half, 3)) for _ in range(depth)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps `[B, width, H, W]` in and out."""
        states = list(self.first(x).chunk(2, 1))
        for block in self.blocks:
            states.append(states[-1] + block(states[-1]))
        found: Tensor = self.last(torch.cat(states, 1))
        return found


class PixelAttention(nn.Module):
    """Attention over pixels as in YOLOv10 and later: dimensions stand before tokens, values get a position branch."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.dim = heads, width // heads
        self.key = self.dim // 2
        self.qkv = nn.Conv2d(width, width + 2 * self.key * heads, 1)
        self.position, self.proj = nn.Conv2d(width, width, 3, 1, 1, groups=width), nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Maps `[B, width, H, W]` in and out."""
        b, c, h, w = x.shape
        qkv = self.qkv(x).view(b, self.heads, 2 * self.key + self.dim, h * w)
        q, k, v = qkv.split([self.key, self.key, self.dim], 2)
        attention = ((q.transpose(-2, -1) @ k) * self.key**-0.5).softmax(-1)
        mixed = (v @ attention.transpose(-2, -1)).view(b, c, h, w)
        found: Tensor = x + self.proj(mixed + self.position(v.reshape(b, c, h, w)))
        return found


class Pooling(nn.Module):
    """Spatial pyramid pooling, fast, as in YOLOv5 and later."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.last = convolution(width, width // 2), convolution(2 * width, width)
        self.pool = nn.MaxPool2d(5, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Maps `[B, width, H, W]` in and out."""
        states = [self.first(x)]
        for _ in range(3):
            states.append(self.pool(states[-1]))
        found: Tensor = self.last(torch.cat(states, 1))
        return found


class Detector(nn.Module):
    """A one-stage detector: backbone, top-down neck, and heads at two strides that share nothing."""

    def __init__(self, width: int = 32, classes: int = 5) -> None:
        super().__init__()
        self.stem = nn.Sequential(convolution(3, width, 3, 2), convolution(width, width, 3, 2), CrossStage(width, 1))
        self.down = nn.Sequential(convolution(width, 2 * width, 3, 2), CrossStage(2 * width, 2), Pooling(2 * width))
        self.attend = PixelAttention(2 * width, 4)
        self.neck = nn.Sequential(convolution(3 * width, width), CrossStage(width, 1))
        self.boxes = nn.ModuleList(nn.Conv2d(w, 4, 1) for w in (width, 2 * width))
        self.classes = nn.ModuleList(nn.Conv2d(w, classes, 1) for w in (width, 2 * width))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Boxes `[B, N, 4]` and class logits `[B, N, classes]` of images `[B, 3, H, W]`."""
        fine = self.stem(x)
        coarse = self.attend(self.down(fine))
        fine = self.neck(torch.cat([fine, F.interpolate(coarse, scale_factor=2.0)], 1))
        maps = (fine, coarse)
        boxes = [head(found).flatten(2) for head, found in zip(self.boxes, maps, strict=True)]
        logits = [head(found).flatten(2) for head, found in zip(self.classes, maps, strict=True)]
        return {"boxes": torch.cat(boxes, 2).mT, "logits": torch.cat(logits, 2).mT}


class UNet(nn.Module):
    """A segmenter with skip connections by concatenation: logits `[B, classes, H, W]` of images `[B, 3, H, W]`."""

    def __init__(self, width: int = 16, classes: int = 4, depth: int = 3) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(depth + 1)]
        pairs = list(itertools.pairwise(widths))
        self.first = convolution(3, width, 3)
        self.down = nn.ModuleList(nn.Sequential(nn.MaxPool2d(2), convolution(a, b, 3)) for a, b in pairs)
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, 2) for a, b in reversed(pairs))
        self.join = nn.ModuleList(convolution(2 * a, a, 3) for a, _ in reversed(pairs))
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of images."""
        states = [self.first(x)]
        for down in self.down:
            states.append(down(states[-1]))
        x = states.pop()
        for up, join in zip(self.up, self.join, strict=True):
            x = join(torch.cat([states.pop(), up(x)], 1))
        found: Tensor = self.head(x)
        return found


class TwoCameras(nn.Module):
    """Two pictures in, one shared encoder, their features compared and regressed to one number each."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.encoder = nn.Sequential(convolution(3, width, 3, 2), convolution(width, width, 3, 2), CrossStage(width, 1))
        self.mix, self.out = nn.Linear(3 * width, width), nn.Linear(width, 2)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """Two numbers `[B, 2]` for pairs of images `[B, 3, H, W]`."""
        one, two = self.encoder(left).mean((2, 3)), self.encoder(right).mean((2, 3))
        found: Tensor = self.out(F.relu(self.mix(torch.cat([one, two, one - two], 1))))
        return found


class Encoder(nn.Module):
    """PyTorch's own transformer encoder over patches, with a class token."""

    def __init__(self, width: int = 64, heads: int = 4, depth: int = 2, classes: int = 10) -> None:
        super().__init__()
        self.patch, self.token = nn.Conv2d(3, width, 8, 8), nn.Parameter(torch.randn(1, 1, width) * 0.1)
        layer = nn.TransformerEncoderLayer(width, heads, 2 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits `[B, classes]` of images `[B, 3, H, W]`."""
        x = self.patch(x).flatten(2).mT
        x = self.encoder(torch.cat([self.token.expand(len(x), -1, -1), x], 1))
        found: Tensor = self.head(x[:, 0])
        return found


SMALL = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
PATCHES = {**SMALL, "image_size": 32, "patch_size": 8}
WINDOWS = {"image_size": 64, "patch_size": 4, "embed_dim": 32, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4}

MODELS: Mapping[str, Callable[[], Made]] = {
    "torchvision/resnet18": functools.partial(_torchvision, "resnet18", 64),
    "torchvision/mobilenet_v2": functools.partial(_torchvision, "mobilenet_v2", 64),
    "torchvision/mobilenet_v3_small": functools.partial(_torchvision, "mobilenet_v3_small", 64),
    "torchvision/efficientnet_b0": functools.partial(_torchvision, "efficientnet_b0", 64),
    "torchvision/densenet121": functools.partial(_torchvision, "densenet121", 64),
    "torchvision/googlenet": functools.partial(_torchvision, "googlenet", 96, init_weights=False),
    "torchvision/regnet_x_400mf": functools.partial(_torchvision, "regnet_x_400mf", 64),
    "torchvision/shufflenet_v2_x0_5": functools.partial(_torchvision, "shufflenet_v2_x0_5", 64),
    "torchvision/squeezenet1_1": functools.partial(_torchvision, "squeezenet1_1", 64),
    "torchvision/convnext_tiny": functools.partial(_torchvision, "convnext_tiny", 64),
    "torchvision/vit_b_16": functools.partial(_torchvision, "vit_b_16", 32, image_size=32),
    "torchvision/swin_t": functools.partial(_torchvision, "swin_t", 64),
    "torchvision/swin_v2_t": functools.partial(_torchvision, "swin_v2_t", 64),
    "torchvision/maxvit_t": functools.partial(_torchvision, "maxvit_t", 224),
    "torchvision/fcn_resnet50": functools.partial(_segmenter, "fcn_resnet50", 64),
    "torchvision/deeplabv3_mobilenet_v3_large": functools.partial(_segmenter, "deeplabv3_mobilenet_v3_large", 64),
    "torchvision/lraspp_mobilenet_v3_large": functools.partial(_segmenter, "lraspp_mobilenet_v3_large", 64),
    "torchvision/resnet18_fpn": functools.partial(_pyramid, "resnet18", 64),
    "torchvision/ssd300_backbone": functools.partial(_single_shot, 300),
    "transformers/vit": functools.partial(_transformers, "ViT", "ForImageClassification", 32, **PATCHES),
    "transformers/dinov2": functools.partial(_transformers, "Dinov2", "Model", 32, **PATCHES),
    "transformers/dinov3_vit": functools.partial(_transformers, "DINOv3ViT", "Model", 32, **PATCHES),
    "transformers/clip_vision": functools.partial(_transformers, "CLIPVision", "Model", 32, **PATCHES),
    "transformers/clip": _clip_towers,
    "transformers/siglip_vision": functools.partial(_transformers, "SiglipVision", "Model", 32, **PATCHES),
    "transformers/beit": functools.partial(_transformers, "Beit", "ForImageClassification", 32, **PATCHES),
    "transformers/swin": functools.partial(_transformers, "Swin", "ForImageClassification", 64, **WINDOWS),
    "transformers/swinv2": functools.partial(_transformers, "Swinv2", "ForImageClassification", 64, **WINDOWS),
    "transformers/convnextv2": functools.partial(
        _transformers, "ConvNextV2", "ForImageClassification", 64, hidden_sizes=[16, 32, 64, 64], depths=[1, 1, 1, 1]
    ),
    "transformers/segformer": functools.partial(
        _transformers,
        "Segformer",
        "ForSemanticSegmentation",
        64,
        hidden_sizes=[16, 32, 48, 64],
        depths=[1, 1, 1, 1],
        decoder_hidden_size=32,
    ),
    "transformers/pvt_v2": functools.partial(
        _transformers, "PvtV2", "ForImageClassification", 64, hidden_sizes=[16, 32, 80, 64], depths=[1, 1, 1, 1]
    ),
    "transformers/mobilevit": functools.partial(
        _transformers, "MobileViT", "ForImageClassification", 64, image_size=64, hidden_sizes=[32, 48, 64]
    ),
    "transformers/levit": functools.partial(
        _transformers,
        "Levit",
        "ForImageClassification",
        64,
        image_size=64,
        hidden_sizes=[32, 48, 64],
        num_attention_heads=[2, 3, 4],
        depths=[1, 1, 1],
        key_dim=[8, 8, 8],
    ),
    "transformers/yolos": functools.partial(
        _transformers, "Yolos", "Model", 32, **{**PATCHES, "image_size": [32, 32], "num_detection_tokens": 4}
    ),
    "smp/unet_resnet18": functools.partial(_smp, "Unet", "resnet18", 64),
    "smp/unetplusplus_mobilenet_v2": functools.partial(_smp, "UnetPlusPlus", "mobilenet_v2", 64),
    "smp/fpn_efficientnet_b0": functools.partial(_smp, "FPN", "efficientnet-b0", 64),
    "smp/deeplabv3plus_resnet18": functools.partial(_smp, "DeepLabV3Plus", "resnet18", 64),
    "open_clip/vision": functools.partial(_open_clip, "vision"),
    "open_clip/text": functools.partial(_open_clip, "text"),
    "own/detector": lambda: (Detector(), picture(64)),
    "own/unet": lambda: (UNet(), picture(64)),
    "own/two_cameras": lambda: (TwoCameras(), (picture(32), picture(32).flip(3))),
    "own/transformer_encoder": lambda: (Encoder(), picture(32)),
}
"""The models by their names: the library, and what is made."""
