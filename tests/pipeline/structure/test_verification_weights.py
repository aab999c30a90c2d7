"""The weights of a comparison: of order one, seeded, shared by the dense model and whatever is cut from it."""

from __future__ import annotations

import timm
import torch
from timm.layers import LayerScale
from torch import Tensor, nn

from secateur.core.input_spec import InputSpec
from secateur.pipeline.structure.cutting import copied_with
from secateur.pipeline.structure.outputs import comparison_input
from secateur.pipeline.structure.verification_weights import VerificationWeights, calibrated, verification_weights


class Hidden(nn.Module):
    """All that hides units: zero and tiny scales, a last layer and a table of zeros, a constant exponent."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(6, 8), nn.LayerNorm(8), nn.Linear(8, 6)
        self.scale = LayerScale(6, 1e-6)
        self.table = nn.Parameter(torch.zeros(5, 6))
        self.strong_table = nn.Parameter(3 * torch.randn(5, 6))
        self.power = nn.Parameter(3 * torch.ones(6))
        self.free = nn.Parameter(torch.linspace(1, 2, 6))
        for tensor in (self.last.weight, self.last.bias, self.norm.weight):
            nn.init.zeros_(tensor)
        self.register_buffer("constant", torch.full((6,), 7.0))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.scale(self.last(self.norm(self.first(x)))) + self.table.mean(0)
        return out


def order_one(tensor: Tensor) -> bool:
    return 0.05 < float(tensor.square().mean().sqrt()) < 3 and bool(tensor.std() > 0.01)


def test_whatever_hides_units_gets_order_one_values_and_the_rest_stays() -> None:
    model = Hidden()
    found = verification_weights(model).tensors(model, torch.float32)
    real = dict([*model.named_parameters(), *model.named_buffers()])
    for name in ("norm.weight", "norm.bias", "first.bias", "last.weight", "last.bias", "scale.gamma", "table"):
        assert order_one(found[name]), name
    assert found["norm.weight"].abs().min() >= 0.5
    assert found["scale.gamma"].abs().min() >= 0.5
    assert (found["power"] > 2).all()
    assert (found["power"] < 4).all()
    assert found["power"].std() > 0.1
    for name in ("strong_table", "free", "constant"):
        assert torch.equal(found[name], real[name]), name
    ratio = found["first.weight"] / real["first.weight"]
    torch.testing.assert_close(ratio, ratio[0, 0].expand_as(ratio))


def test_layers_have_the_variance_of_he() -> None:
    model = nn.Sequential(
        nn.Linear(50, 20), nn.Conv2d(6, 8, 3), nn.ConvTranspose2d(6, 8, 2), nn.Conv2d(8, 8, 3, groups=8)
    )
    nn.init.zeros_(model[1].weight)
    found = verification_weights(model).tensors(model, torch.float32)
    for name, fan_in in (("0.weight", 50), ("1.weight", 54), ("2.weight", 24), ("3.weight", 9)):
        assert abs(float(found[name].square().mean()) * fan_in / 2 - 1) < (0.3 if name == "1.weight" else 1e-4), name


def test_values_depend_on_the_name_only_and_memory_is_shared_where_nothing_changes() -> None:
    one, two = Hidden(), Hidden()
    found = [verification_weights(model).tensors(model, torch.float32) for model in (one, two)]
    assert torch.equal(found[0]["norm.weight"], found[1]["norm.weight"])
    assert not torch.equal(found[0]["norm.weight"], found[0]["first.bias"])
    assert found[0]["strong_table"].data_ptr() == one.strong_table.data_ptr()
    assert found[0]["first.weight"].data_ptr() != one.first.weight.data_ptr()


def test_a_cut_model_gets_the_same_values_where_it_has_the_same_positions() -> None:
    model, weights = Hidden(), VerificationWeights({"first.weight": 2.0}, {"norm.weight": torch.arange(8.0)})
    small = Hidden()
    small.norm, small.first = nn.LayerNorm(3), nn.Linear(6, 3)
    stays = torch.tensor([1, 4, 6])
    found = weights.tensors(small, torch.float64, {("norm.weight", 0): stays, ("first.weight", 0): stays})
    assert found["norm.weight"].tolist() == [1, 4, 6]
    torch.testing.assert_close(found["first.weight"], 2 * small.first.weight.double())
    assert len(weights.tensors(model, torch.float32)["norm.weight"]) == 8


def spread_of_logits(model: nn.Module, x: Tensor) -> float:
    """How much the outputs differ between samples, relative to their scale."""
    logits: Tensor = model(x).detach()
    return float((logits[0] - logits[1]).abs().max() / logits.abs().max())


def test_calibration_keeps_deep_models_neither_vanishing_nor_exploding() -> None:
    """Forty layers without normalisation whose weights are a tenth, and another ten times, of what they should be."""
    for gain in (0.1, 10.0):
        torch.manual_seed(0)
        layers = [layer for _ in range(40) for layer in (nn.Linear(32, 32), nn.ReLU())]
        model = nn.Sequential(*layers, nn.Linear(32, 5)).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(gain)
            weights = verification_weights(model)
            copied = copied_with(model, weights.tensors(model, torch.float64))
            x = comparison_input(InputSpec.shaped((32,)), torch.device("cpu"), torch.float64)
            outputs, found = calibrated(copied, weights, x)
            again = copied_with(model, found.tensors(model, torch.float64))(x)
        torch.testing.assert_close(again, outputs, rtol=1e-9, atol=1e-9)
        assert 0.1 < outputs.abs().max() < 20
        assert spread_of_logits(copied, x) > 0.05


def test_batch_norm_gets_the_statistics_of_what_it_sees() -> None:
    torch.manual_seed(0)
    model = timm.create_model("test_resnet", num_classes=5).eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    weights = verification_weights(model)
    with torch.no_grad():
        copied = copied_with(model, weights.tensors(model, torch.float32)).eval()
        seen: dict[str, Tensor] = {}
        for name, module in copied.named_modules():
            if isinstance(module, nn.BatchNorm2d):
                module.register_forward_pre_hook(lambda _m, args, name=name: seen.update({name: args[0].clone()}))
        _, found = calibrated(
            copied, weights, comparison_input(InputSpec.shaped((3, 64, 64)), torch.device("cpu"), torch.float32)
        )
    assert seen
    for name, x in seen.items():
        torch.testing.assert_close(found.values[f"{name}.running_mean"], 0.5 * x.mean((0, 2, 3)), rtol=1e-3, atol=1e-4)
        second = (x - 0.5 * x.mean((0, 2, 3), keepdim=True)).square().mean((0, 2, 3))
        big = second > 0.2 * second.mean()
        torch.testing.assert_close(found.values[f"{name}.running_var"][big], second[big], rtol=1e-3, atol=1e-5)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_normalised_squeezed_features_do_not_amplify_rounding() -> None:
    """One image gives one value of each channel: statistics of it would make a sign of it, block after block."""
    torch.manual_seed(0)
    width = 8
    blocks = [
        nn.ModuleDict({"squeeze": nn.Conv2d(width, 4, 1), "norm": nn.BatchNorm2d(4), "expand": nn.Conv2d(4, width, 1)})
        for _ in range(16)
    ]

    class Squeezed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList(blocks)

        def forward(self, x: Tensor) -> Tensor:
            for block in self.blocks:
                pooled = block["norm"](block["squeeze"](x.mean((2, 3), keepdim=True))).relu()
                x = x * block["expand"](pooled).sigmoid() * 2 + 0.1
            return x

    model = Squeezed().eval().double()
    x = torch.randn(1, width, 5, 5, dtype=torch.float64)
    with torch.no_grad():
        calibrated(model, verification_weights(model), x)
        moved = (model(x * (1 + 1e-9)) - model(x)).abs().max() / model(x).abs().max()
    assert 1e-10 < moved < 1e-5


def test_what_runs_twice_is_calibrated_once() -> None:
    """The outputs told are those of the weights told, also of an encoder that two images go through."""
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.BatchNorm2d(6))

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.head = encoder, nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.head(self.encoder(x).mean((2, 3)) - self.encoder(3 * x + 1).mean((2, 3)))
            return out

    model = Twice().eval()
    x = torch.randn(4, 3, 9, 9)
    with torch.no_grad():
        told, _ = calibrated(model, verification_weights(model), x)
        torch.testing.assert_close(model(x), told)


def test_a_layer_whose_weight_was_read_before_stays() -> None:
    """The table of an embedding may be the weight of the last layer, or the other way round; a bias may be a table."""

    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.hidden, self.last = nn.Embedding(9, 6), nn.Linear(6, 6), nn.Linear(6, 9)
            self.last.weight = self.table.weight

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.last(self.hidden(self.table(x) * 2 + self.hidden.bias))
            return out

    torch.manual_seed(0)
    model = Tied().eval()
    x = torch.randint(0, 9, (4, 5))
    with torch.no_grad():
        told, weights = calibrated(model, verification_weights(model), x)
        torch.testing.assert_close(model(x), told)
    assert weights.factors["hidden.weight"] != verification_weights(model).factors["hidden.weight"]
