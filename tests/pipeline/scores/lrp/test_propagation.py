"""Whole models under the rules: conservation, canonisation, attention fused or not, and nothing left behind."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from secateur.pipeline.scores.lrp.composite import find_composite
from secateur.pipeline.scores.lrp.propagation import Call, Layout
from secateur.pipeline.scores.lrp.relevance import IMAGES, record, relevances
from secateur.pipeline.structure.groups import Site
from tests.conftest import make_vit


def explained(model: nn.Module, x: Tensor, composite: Any, *sites: Site, target: str = "predicted") -> Any:
    """The relevance of one batch."""
    batches = [(x, torch.zeros(len(x), dtype=torch.long))]
    (found,) = relevances(model, batches, (IMAGES, *sites), find_composite(composite), target)
    return found


def logits_of(found: Any) -> Tensor:
    return found.logits.gather(1, found.classes[:, None])[:, 0]


class Cnn(nn.Module):
    """Convolutions with BatchNorm, a residual sum, pooling, in-place activations; optionally no biases anywhere."""

    def __init__(self, bias: bool) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, padding=1, bias=bias), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 8, 3, padding=1, groups=2, bias=bias), nn.BatchNorm2d(8)
        self.act, self.pool = nn.ReLU(inplace=True), nn.MaxPool2d(2)
        self.fc = nn.Linear(8, 5, bias=bias)
        for bn in (self.bn1, self.bn2):
            bn.running_var.uniform_(0.5, 2.0)
            nn.init.uniform_(bn.weight, -1.5, 1.5)  # a negative factor turns the signs of contributions around
            if bias:
                nn.init.normal_(bn.bias)
                bn.running_mean.normal_()

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(x))
        y += x
        return self.fc(self.pool(self.act(y)).mean((2, 3)))


@pytest.fixture
def x() -> Tensor:
    return torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("composite", ["epsilon", "gamma", "z_plus"])
def test_without_biases_the_image_holds_the_logit(composite: str, x: Tensor) -> None:
    torch.manual_seed(0)
    found = explained(Cnn(bias=False).eval(), x, composite)
    torch.testing.assert_close(found.images.flatten(1).sum(1), logits_of(found), rtol=1e-3, atol=1e-5)


LARGE = pytest.param("vgg11_bn", marks=pytest.mark.nightly)
"""Its images have 224 pixels a side."""


@pytest.mark.parametrize("name", ["resnet18", LARGE, "mobilenetv2_050", "convnext_atto", "mobilenetv3_small_050"])
def test_every_layer_of_a_timm_cnn_conserves_relevance(name: str) -> None:
    """The image and a middle layer hold the logit, as far as the biases of random weights are zero."""
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=5).eval()
    for module in model.modules():
        if getattr(module, "bias", None) is not None and isinstance(module.bias, nn.Parameter):
            nn.init.zeros_(module.bias)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)  # some blocks start as identities
    found = explained(
        model, torch.randn(1, 3, 64, 64) if name != "vgg11_bn" else torch.randn(1, 3, 224, 224), "epsilon"
    )
    assert found.images.sum().item() == pytest.approx(logits_of(found).item(), rel=2e-2)


@pytest.mark.parametrize("composite", ["epsilon", "gamma", "z_plus", "alpha2_beta1"])
def test_a_batch_norm_is_folded_into_its_convolution(composite: str, x: Tensor) -> None:
    torch.manual_seed(1)
    model = Cnn(bias=True).eval()
    folded = copy.deepcopy(model)
    folded.conv1, folded.bn1 = fuse_conv_bn_eval(folded.conv1, folded.bn1), nn.Identity()
    folded.conv2, folded.bn2 = fuse_conv_bn_eval(folded.conv2, folded.bn2), nn.Identity()
    units = tuple(range(8))
    sites = (Site("conv1", "output", 1, units), Site("conv2", "output", 1, units))
    one, other = explained(model, x, composite, *sites), explained(folded, x, composite, *sites)
    torch.testing.assert_close(one.images, other.images, rtol=1e-3, atol=1e-5)
    for key in one.at:
        torch.testing.assert_close(one.at[key], other.at[key], rtol=1e-3, atol=1e-5)


def test_a_batch_norm_whose_input_has_another_reader_is_not_folded(x: Tensor) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.bn, self.fc = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(x)
            return self.fc((self.bn(y) + y).mean((2, 3)))

    model = Two().eval()
    model.bn.running_mean.normal_()
    assert record(model, x)[0].norms == {}
    assert len(record(Cnn(bias=True).eval(), x)[0].norms) == 2
    found = explained(model, x, "epsilon")
    torch.testing.assert_close(found.logits, model(x).detach())


def test_depth_groups_are_quarters_and_the_classifier() -> None:
    body = [Call("convolution", False)] * 8
    head = [Call("linear", True)] * 2
    depths = Layout((*body, *head), {}).depths()
    assert depths == ("first",) * 2 + ("middle",) * 4 + ("last",) * 2 + ("classifier",) * 2
    assert Layout(tuple(body), {}).depths()[-1] == "classifier"
    vit = timm.create_model("deit_tiny_patch16_224", num_classes=4, depth=12, img_size=32).eval()
    found = record(vit, torch.zeros(1, 3, 32, 32))[0].depths()
    # the patches' convolution and four layers in each of twelve blocks: three blocks, six, three
    assert found == ("first",) * 13 + ("middle",) * 24 + ("last",) * 12 + ("classifier",)


@pytest.mark.parametrize("attention", ["attnlrp", "attnlrp_z_plus", "cp"])
def test_fused_attention_is_taken_apart(attention: str) -> None:
    model, plain = make_vit(), make_vit()
    for module in plain.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False
    image = torch.randn(2, 3, 16, 16)
    composite = {"first": "epsilon", "attention": attention}
    one, other = explained(model, image, composite), explained(plain, image, composite)
    torch.testing.assert_close(one.images, other.images, rtol=1e-3, atol=1e-5)


def test_multi_head_attention_is_taken_apart(x: Tensor) -> None:
    """torch's own module against the same attention written out."""

    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(3)
            self.attn, self.fc = nn.MultiheadAttention(12, 3, batch_first=True), nn.Linear(12, 4)

        def forward(self, x: Tensor) -> Tensor:
            tokens = x.reshape(len(x), -1, 12)
            return self.fc(self.attn(tokens, tokens, tokens, need_weights=False)[0].mean(1))

    class Written(Own):
        def forward(self, x: Tensor) -> Tensor:
            tokens = x.reshape(len(x), -1, 12)
            qkv = F.linear(tokens, self.attn.in_proj_weight, self.attn.in_proj_bias)
            q, k, v = qkv.reshape(len(x), -1, 3, 3, 4).permute(2, 0, 3, 1, 4)
            out = ((q / 2) @ k.transpose(-2, -1)).softmax(-1) @ v
            return self.fc(self.attn.out_proj(out.transpose(1, 2).flatten(2)).mean(1))

    for attention in ("attnlrp", "attnlrp_z_plus", "cp"):
        composite = {"first": "gamma", "middle": "epsilon", "attention": attention}
        one, other = explained(Own().eval(), x, composite), explained(Written().eval(), x, composite)
        torch.testing.assert_close(one.logits, other.logits)
        torch.testing.assert_close(one.images, other.images, rtol=1e-3, atol=1e-5)


def test_a_ragged_attention_is_scored_like_the_one_it_came_from() -> None:
    from secateur.kernels.ragged_attention import RaggedAttention

    model = make_vit()
    ragged = copy.deepcopy(model)
    for block in ragged.blocks:
        a = block.attn
        block.attn = RaggedAttention(a.qkv, a.proj, [16] * 3, [16] * 3, a.scale)
    image = torch.randn(2, 3, 16, 16)
    one, other = explained(model, image, "gamma"), explained(ragged, image, "gamma")
    torch.testing.assert_close(one.images, other.images, rtol=1e-3, atol=1e-5)


def test_products_share_and_cp_sends_nothing_to_queries_and_keys() -> None:
    """A head's output holds as much as its values and its attention together; with CP the values hold all of it."""
    model, image = make_vit(), torch.randn(2, 3, 16, 16)
    for block in model.blocks:
        nn.init.zeros_(block.attn.qkv.bias)
    q_and_k = Site("blocks.1.attn.qkv", "output", -1, tuple(range(144)))
    heads = Site("blocks.1.attn.proj", "input", -1, tuple(range(48)))
    for composite, share in (("epsilon", 0.5), ("epsilon_cp", 1.0)):
        found = explained(model, image, composite, q_and_k, heads)
        qkv, out = found.at["blocks.1.attn.qkv", "output"], found.at["blocks.1.attn.proj", "input"]
        torch.testing.assert_close(qkv[..., 96:].sum((1, 2)), share * out.sum((1, 2)), rtol=1e-3, atol=1e-5)
        assert (qkv[..., :96].abs().sum() == 0) == (composite == "epsilon_cp")
