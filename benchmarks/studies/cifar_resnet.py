"""The ResNets of CIFAR-10 with parameter-free shortcuts, whose weights `cifar10_resnet*.safetensors` hold."""

from __future__ import annotations

from pathlib import Path

import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn


class Block(nn.Module):
    """Two convolutions and the input; where the width grows, the shortcut takes every second pixel and pads zeros."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride, self.missing = stride, outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        """`[B, inputs, H, W]` to `[B, outputs, H / stride, W / stride]`."""
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.missing:
            side = self.missing // 2
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, side, self.missing - side))
        return F.relu(out + x)


class CifarResNet(nn.Module):
    """He et al., 2016 (arXiv 1512.03385), section 4.2, option A, with `blocks` blocks in each of three stages."""

    def __init__(self, blocks: int, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        for number, (inputs, outputs) in enumerate(((16, 16), (16, 32), (32, 64)), start=1):
            stage = [Block(inputs if place == 0 else outputs, outputs, 1) for place in range(blocks)]
            if number > 1:
                stage[0] = Block(inputs, outputs, 2)
            self.add_module(f"layer{number}", nn.Sequential(*stage))
        self.linear = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, 3, 32, 32]` to logits `[B, classes]`."""
        return self.forward_head(self.forward_features(x))

    def forward_features(self, x: Tensor) -> Tensor:
        """`[B, 3, 32, 32]` to the last feature map `[B, 64, 8, 8]`."""
        x = F.relu(self.bn1(self.conv1(x)))
        for number in (1, 2, 3):
            x = self.get_submodule(f"layer{number}")(x)
        return x

    def forward_head(self, x: Tensor) -> Tensor:
        """The last feature map to logits."""
        logits: Tensor = self.linear(x.mean((2, 3)))
        return logits


def cifar_resnet(path: Path) -> CifarResNet:
    """The network with the weights in the file, in evaluation mode."""
    state = load_file(path)
    blocks = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("layer1."))
    model = CifarResNet(blocks)
    model.load_state_dict(state)
    return model.eval()
