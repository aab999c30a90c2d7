"""Models whose own code mixes types are pruned like others, since they are compared in one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.one_dtype import OneDtype
from secateur.pipeline.structure.plan import plan_from_kept
from secateur.pipeline.structure.storage import load, save
from secateur.pipeline.structure.surgery import prune

BF16 = torch.bfloat16


class Mixed(nn.Module):
    """A body, an MLP and a head, each of its own type, in code that puts them together."""

    def __init__(self, code: str) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 12, 1))
        self.mlp = nn.Sequential(nn.Linear(12, 20), nn.GELU(), nn.Linear(20, 12))
        self.norm, self.head, self.code = nn.LayerNorm(12), nn.Linear(12, 5), code
        for name, dtype in CODES[code][1].items():
            self.get_submodule(name).to(dtype)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = CODES[self.code][0](self, x)
        return found


def double_head(m: Any, x: Tensor) -> Tensor:
    return m.head(m.norm(m.mlp(m.body(x).mean((2, 3)))).double())  # type: ignore[no-any-return]


def cast_weights(m: Any, x: Tensor) -> Tensor:
    x = m.norm(m.mlp(m.body(x).mean((2, 3)))).double()
    return F.linear(x, m.head.weight.double(), m.head.bias.double())


def half_block(m: Any, x: Tensor) -> Tensor:
    x = m.body(x).mean((2, 3))
    return m.head(m.norm(m.mlp(x.to(BF16)).to(x.dtype)))  # type: ignore[no-any-return]


def type_of_the_weight(m: Any, x: Tensor) -> Tensor:
    x = m.body(x).mean((2, 3))
    return m.head(m.norm(m.mlp(x.to(m.mlp[0].weight.dtype)).type_as(x)))  # type: ignore[no-any-return]


def half_but_for_the_norm(m: Any, x: Tensor) -> Tensor:
    x = m.mlp(m.body(x.to(BF16)).mean((2, 3)))
    return m.head(m.norm(x.float()).to(x.dtype))  # type: ignore[no-any-return]


def autocast_on(m: Any, x: Tensor) -> Tensor:
    with torch.autocast("cpu", dtype=BF16):
        x = m.mlp(m.body(x).mean((2, 3)))
    return m.head(m.norm(x.float()))  # type: ignore[no-any-return]


def autocast_off(m: Any, x: Tensor) -> Tensor:
    x = m.body(x).mean((2, 3))
    with torch.autocast("cpu", enabled=False):
        x = m.mlp(x.float())
    return m.head(m.norm(x))  # type: ignore[no-any-return]


def made_in_code(m: Any, x: Tensor) -> Tensor:
    x = m.mlp(m.body(x).mean((2, 3)))
    return m.head(m.norm(x * torch.tensor(0.5))) @ torch.eye(5)  # type: ignore[no-any-return]


CODES: dict[str, tuple[Callable[[Any, Tensor], Tensor], dict[str, torch.dtype]]] = {
    "a head in double precision": (double_head, {"head": torch.float64}),
    "weights converted in the call": (cast_weights, {}),
    "a block in half precision": (half_block, {"mlp": BF16}),
    "the type of a weight": (type_of_the_weight, {"mlp": BF16}),
    "half precision but for a norm": (half_but_for_the_norm, dict.fromkeys(("body", "mlp", "head"), BF16)),
    "autocast": (autocast_on, {}),
    "no autocast": (autocast_off, {}),
    "numbers of a type": (made_in_code, {}),
}


@pytest.mark.parametrize("code", list(CODES))
def test_a_model_of_mixed_types_is_pruned_saved_and_loaded_in_its_own(code: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, x = Mixed(code).eval(), torch.randn(2, 3, 6, 6)
    groups = find_groups(model, x)
    expected = {"body.0.channels": 8, "body.3.channels": 12, "mlp.hidden": 20, "mlp.2.hidden": 12}
    assert {group.name: group.units for group in groups} == expected
    assert groups.adapted == groups.unverifiable == ()
    plan = plan_from_kept(groups, {group.name: range(0, group.units, 2) for group in groups})
    small = prune(model, plan, groups)
    save(small, tmp_path / "small")
    loaded = load(tmp_path / "small", factory=lambda: Mixed(code))
    types = {name: tensor.dtype for name, tensor in model.state_dict().items()}
    assert {name: tensor.dtype for name, tensor in loaded.state_dict().items()} == types
    with torch.no_grad():
        found = loaded(x)
        assert torch.equal(found, small(x)) and found.dtype == model(x).dtype


def test_conversions_autocast_and_numbers_made_in_code_are_of_the_one_type() -> None:
    x, w = torch.randn(3, 4, dtype=torch.float64), torch.randn(4, 4, dtype=torch.float64, requires_grad=True)
    with OneDtype(torch.float64), torch.autocast("cpu", dtype=BF16):
        for made in (x.half(), x.to(BF16), x.float(), x @ w, torch.zeros(2), torch.full((2,), 0.5, dtype=BF16)):
            assert made.dtype == torch.float64
        assert torch.equal(x.to(BF16), x), "no digits are lost"
        assert torch.equal(torch.tensor([1.5]) @ x[:1], 1.5 * x[0])
        assert torch.arange(3).dtype == x.long().dtype == torch.int64
        (gradient,) = torch.autograd.grad((x.to(BF16) @ w.float()).sum(), w)
    assert torch.equal(gradient, x.sum(0)[:, None].expand(4, 4))
    assert x.half().dtype == torch.float16, "afterwards it is as it was"
