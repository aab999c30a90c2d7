"""The layers that read a group's units, seen as matrices over rows of their inputs: linear layers and convolutions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from secateur.pipeline.structure.groups import Group, Side, Site
from secateur.pipeline.structure.layer_form import WeightView
from secateur.pipeline.structure.samples import FIRST, Samples

MOST_POSITIONS = 256
"""At most so many tokens or pixels of one sample are used, evenly spread; neighbours say almost the same."""
AGREEMENT = 1e-3
"""How far a layer of another class may be from its matrix, as a share of its output."""


@dataclass(frozen=True)
class Reader:
    """A layer whose input holds units: `columns[c]` is the unit of column `c` of its matrix, or -1.

    Where the layer is not called, its tensor `weight` is handed to a function. That, `samples` and `view` as in `Site`.
    """

    module: str
    columns: tuple[int, ...]
    weight: str = ""
    samples: Samples = FIRST
    view: WeightView | None = None

    @property
    def name(self) -> str:
        """As in `Site`."""
        return self.site("input").name

    def site(self, side: Side) -> Site:
        """Where all that it reads, or makes, is seen."""
        return Site(self.module, side, -1, (), self.weight, self.samples, self.view)


def readers_of(model: nn.Module, group: Group) -> tuple[Reader, ...]:
    """The linear layers and ungrouped convolutions that read the units of `group`, in the model's order."""
    found = []
    for site in group.sites:
        layer = layer_of(model, site)
        if site.side == "input" and matrices_in(layer) == 1:
            assert isinstance(layer, nn.Linear | nn.Conv2d)  # for the type checker
            repeat = layer.weight[0, 0].numel()
            columns = tuple(unit for unit in site.units for _ in range(repeat))
            found.append(Reader(site.module, columns, site.weight, site.samples, site.view))
    return tuple(found)


def layer_of(model: nn.Module, site: Site | Reader) -> nn.Module:
    """The layer at a site, or for a weight that is handed to a function a linear layer with that one, or a part."""
    layer = model.get_submodule(site.module)
    if not site.weight or (site.view is None and isinstance(layer, nn.Linear | nn.modules.conv._ConvNd)):
        return layer
    tensor = getattr(layer, site.weight).detach()
    matrix = tensor if site.view is None else site.view.of(tensor)
    linear = nn.Linear(matrix.shape[1], matrix.shape[0], bias=False, device="meta")
    linear.weight = nn.Parameter(matrix, requires_grad=False)
    return linear


def matrices_in(layer: nn.Module) -> int:
    """How many matrices the layer is, each with inputs and outputs of its own: one for each group of a convolution.

    None (0) for layers of other kinds: also for a subclass that does more than multiply rows by its own weight, such
    as a convolution that standardises it, which is tried on a small input.
    """
    if not isinstance(layer, nn.Linear | nn.Conv2d):
        return 0
    count = layer.groups if isinstance(layer, nn.Conv2d) else 1
    return count if type(layer) in (nn.Linear, nn.Conv2d) or _multiplies(layer) else 0


def matrix(layer: nn.Module) -> Tensor:
    """The layer's weight as a matrix `[out, columns]` in float64; a convolution's kernel is flattened.

    The matrices of a grouped convolution lie one below the other.
    """
    weight = layer.weight
    assert isinstance(weight, Tensor)  # for the type checker
    return weight.detach().double().flatten(1)


def channel_dim(layer: nn.Module) -> int:
    """The dimension of the layer's input that holds its channels."""
    return 1 if isinstance(layer, nn.Conv2d) else -1


def input_rows(layer: nn.Module, x: Tensor) -> Tensor:
    """The rows `[B, positions, columns]` that the layer's matrix multiplies, a convolution's border as it pads it.

    Those of a grouped convolution's matrices lie side by side. At most `MOST_POSITIONS` of a sample are taken, evenly
    spread; the same ones whatever the batch.
    """
    x = _unfolded(layer, x) if isinstance(layer, nn.Conv2d) else x.reshape(x.shape[0], -1, x.shape[-1])
    return x[:, spread(x.shape[1], x.device)]


def output_rows(layer: nn.Module, y: Tensor) -> Tensor:
    """The rows `[B, positions, out]` of the layer's output (or its gradient) that belong to `input_rows`."""
    y = y.flatten(2).transpose(1, 2) if isinstance(layer, nn.Conv2d) else y.reshape(y.shape[0], -1, y.shape[-1])
    return y[:, spread(y.shape[1], y.device)]


def spread(positions: int, device: torch.device) -> Tensor:
    """The positions that are used, `[at most MOST_POSITIONS]`; the first (a class token) is always among them."""
    if positions <= MOST_POSITIONS:
        return torch.arange(positions, device=device)
    return torch.linspace(0, positions - 1, MOST_POSITIONS, device=device).long()


class _Convolution(TorchFunctionMode):
    """Notes what a module hands to its convolution, which is not computed.

    Modules pad in many ways: by a number, "same", with reflections, or by how the image fits the stride (TensorFlow).
    """

    _NAMES = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")

    def __init__(self) -> None:
        super().__init__()
        self.given: dict[str, Any] = {}

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is not F.conv2d:
            return func(*args, **kwargs)
        self.given = {**dict(zip(self._NAMES, args, strict=False)), **kwargs}
        return self.given["input"]


def _unfolded(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """The patches `[B, positions, columns]` that the kernel of a convolution meets."""
    with torch.no_grad(), _Convolution() as noted:
        layer.forward(x)
    given = noted.given
    padded, padding = given["input"], given.get("padding", 0)
    if isinstance(padding, str):  # "same" puts the odd one behind
        reach = [d * (k - 1) * (padding == "same") for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
        ends = [(size // 2, size - size // 2) for size in reach]
    else:
        both = (padding, padding) if isinstance(padding, int) else padding
        ends = [(size, size) for size in both]
    (top, bottom), (left, right) = ends
    padded = F.pad(padded, (left, right, top, bottom))
    stride, dilation = given.get("stride", 1), given.get("dilation", 1)
    return F.unfold(padded, layer.kernel_size, dilation, 0, stride).transpose(1, 2)


def _multiplies(layer: nn.Linear | nn.Conv2d) -> bool:
    """Whether rows times the matrix give what the layer gives for a small random input."""
    weight, generator = layer.weight, torch.Generator().manual_seed(0)
    if isinstance(layer, nn.Conv2d):
        shape = [
            1,
            layer.in_channels,
            *(d * (k - 1) + 2 for d, k in zip(layer.dilation, layer.kernel_size, strict=True)),
        ]
    else:
        shape = [1, 3, layer.in_features]
    x = torch.randn(shape, generator=generator).to(weight.device, weight.dtype)
    with torch.no_grad():
        y = output_rows(layer, layer.forward(x)).double()
        count = layer.groups if isinstance(layer, nn.Conv2d) else 1
        parts = zip(input_rows(layer, x).double().chunk(count, -1), matrix(layer).chunk(count), strict=True)
        z = torch.cat([rows @ part.T for rows, part in parts], -1)
        z = z if layer.bias is None else z + layer.bias.double()
    return bool((y - z).abs().max() <= AGREEMENT * y.abs().max())
