"""Saving and loading models without pickle: what was saved comes back, or one sentence says why not."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from secateur.core.errors import ModelError, SecateurError
from secateur.core.files import sha256_file, write_tensors
from secateur.pipeline.models.create import create_model
from secateur.pipeline.structure import storage
from secateur.pipeline.structure.classes import specialised
from secateur.pipeline.structure.cutting import is_channels_last
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.history import Classes, Replaced, Units, steps_of
from secateur.pipeline.structure.plan import plan_from_kept
from secateur.pipeline.structure.storage import STRUCTURE, WEIGHTS, load, save
from secateur.pipeline.structure.surgery import prune
from tests.forked import finished, started
from tests.pipeline.structure.test_surgery import random_plan

KWARGS = {"img_size": 16, "patch_size": 4, "embed_dim": 48, "depth": 2, "num_heads": 3, "num_classes": 5}


def pruned(model: nn.Module, size: int = 16, share: float = 0.4) -> nn.Module:
    example = torch.zeros(1, 3, size, size, dtype=next(model.parameters()).dtype)
    groups = find_groups(model, example, verify=False)  # the trial of every group is tested elsewhere
    return prune(model, random_plan(groups, 5, share), groups)


def same(one: nn.Module, two: nn.Module) -> bool:
    """Whether two models have the same tensors, to the type and the last bit, those included that are not saved."""
    left, right = ({**dict(m.named_parameters()), **dict(m.named_buffers())} for m in (one, two))
    return left.keys() == right.keys() and all(
        left[key].dtype == right[key].dtype and torch.equal(left[key], right[key]) for key in left
    )


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("saved") / "small"
    save(pruned(create_model("vit_tiny_patch16_224", **KWARGS)), folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A saved model, which the test may change."""
    return Path(shutil.copytree(saved, tmp_path / "small"))


def rewritten(folder: Path, change: Callable[[dict[str, Any]], None], former: bool = False) -> Path:
    """The folder with a changed structure.json; as a `former` version wrote it, without digest and precision."""
    content = json.loads((folder / STRUCTURE).read_text())
    change(content)
    if former:
        for key in ("structure_sha256", "precision"):
            del content[key]
        write_tensors(folder / WEIGHTS, load_file(folder / WEIGHTS), {"format": "pt"})
        content["weights_sha256"] = sha256_file(folder / WEIGHTS)
    (folder / STRUCTURE).write_text(json.dumps(content))
    return folder


def test_a_loaded_model_gives_the_same_logits_in_another_process(folder: Path) -> None:
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    torch.save(x, folder / "x.pt")
    code = (
        "import torch; from secateur.pipeline.structure.storage import load\n"
        "torch.save(load(folder)(torch.load(folder + '/x.pt')), folder + '/y.pt')"
    )
    assert finished(started(code, folder=str(folder))) == [0]
    assert torch.equal(load(folder)(x), torch.load(folder / "y.pt"))


def test_saving_a_loaded_model_again_writes_the_same_files(folder: Path, tmp_path: Path) -> None:
    save(load(folder), tmp_path / "again")
    for name in ("structure.json", "model.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_a_dense_model_is_saved_too(tmp_path: Path) -> None:
    model = create_model("vit_tiny_patch16_224", **KWARGS)
    save(model, tmp_path)
    x = torch.randn(1, 3, 16, 16)
    assert torch.equal(load(tmp_path)(x), model(x))


# -- precision


@pytest.mark.parametrize(
    ("name", "kwargs", "dtype"),
    [
        ("vit_tiny_patch16_224", KWARGS, torch.float16),
        ("vit_tiny_patch16_224", KWARGS, torch.float64),
        ("test_efficientnet", {"num_classes": 5}, torch.bfloat16),
    ],
)
def test_a_model_comes_back_in_its_precision(
    name: str, kwargs: dict[str, Any], dtype: torch.dtype, tmp_path: Path
) -> None:
    dense = create_model(name, **kwargs)
    small = pruned(dense).to(dtype)
    for part, model in (("dense", dense.to(dtype)), ("small", small)):
        save(model, tmp_path / part)
        assert {t.dtype for t in load_file(tmp_path / part / WEIGHTS).values() if t.is_floating_point()} == {dtype}
        assert same(load(tmp_path / part), model)


def test_a_model_of_several_precisions_comes_back_in_all_of_them(tmp_path: Path) -> None:
    small = pruned(create_model("vit_tiny_patch16_224", **KWARGS)).half()
    small.norm.float()
    small.head.to(torch.bfloat16)
    save(small, tmp_path)
    again = load(tmp_path)
    assert same(again, small)
    assert {again.norm.weight.dtype, again.head.bias.dtype, again.pos_embed.dtype} == {
        torch.float32,
        torch.bfloat16,
        torch.float16,
    }


def test_buffers_that_are_not_saved_come_back_in_their_precision(tmp_path: Path) -> None:
    model = create_model("vit_base_patch16_rope_224", **{**KWARGS, "patch_size": 8}).to(torch.float64)
    missing = {name for name, _ in model.named_buffers()} - model.state_dict().keys()
    assert {model.get_buffer(name).dtype for name in missing} == {torch.float64}
    save(model, tmp_path)
    assert same(load(tmp_path), model)


class Heads(nn.Module):
    """Four heads of eight that the code itself counts, so that it is taken from the graph, with the types in it."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(32, 32) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (layer(x).view(x.shape[0], -1, 4, 8).transpose(1, 2) for layer in (self.q, self.k, self.v))
        values = torch.ones(16, 16, dtype=x.dtype) @ ((q @ k.transpose(-2, -1)).softmax(-1) @ v)
        found: Tensor = self.out(values.transpose(1, 2).reshape(x.shape[0], -1, 32))
        return found


class Counting(nn.Module):
    """A network of such an attention."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.attn, self.head = nn.Conv2d(3, 32, 4, 4), Heads(), nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        logits: Tensor = self.head((x + self.attn(x)).mean(1))
        return logits


def test_a_model_pruned_in_float64_is_traced_in_float64_again(tmp_path: Path) -> None:
    model = Counting().double()
    groups = find_groups(model, torch.zeros(1, 3, 16, 16, dtype=torch.float64))
    small = prune(model, plan_from_kept(groups, {"attn.v.heads": [0, 3]}), groups)
    (step,) = steps_of(small)
    assert isinstance(step, Units)
    assert step.adapted == ("attn",)
    save(small, tmp_path)
    again, x = load(tmp_path, Counting), torch.randn(2, 3, 16, 16, dtype=torch.float64)
    assert same(again, small)
    assert torch.equal(again(x), small(x))


# -- histories


def test_a_model_that_timm_made_is_saved_after_pruning(tmp_path: Path) -> None:
    dense = timm.create_model("test_efficientnet", num_classes=5).eval()
    for part, model in (("dense", dense), ("small", pruned(dense))):
        save(model, tmp_path / part)
        assert same(load(tmp_path / part), model)


def test_a_model_that_was_pruned_twice_comes_back(tmp_path: Path) -> None:
    once = pruned(create_model("test_efficientnet", num_classes=5))
    twice = pruned(once)
    assert sum(p.numel() for p in twice.parameters()) < sum(p.numel() for p in once.parameters())
    save(twice, tmp_path)
    again = load(tmp_path)
    assert same(again, twice)
    assert len(steps_of(again)) == 2
    save(again, tmp_path / "again")
    assert (tmp_path / "again" / STRUCTURE).read_bytes() == (tmp_path / STRUCTURE).read_bytes()


def test_classes_and_units_may_be_cut_in_any_order(tmp_path: Path) -> None:
    model = create_model("test_efficientnet", num_classes=9)
    for step in ("classes", "units", "classes"):
        count = model.num_classes
        assert isinstance(count, int)
        names = tuple("abcdefghi"[: count - 2])
        chosen = Classes(count, tuple(range(2, count)), names)
        model = specialised(model, chosen) if step == "classes" else pruned(model)
    save(model, tmp_path)
    assert same(load(tmp_path), model)
    assert steps_of(load(tmp_path)) == steps_of(model)


@pytest.mark.parametrize("prune_it", [False, True])
def test_a_classifier_that_was_reset_before_is_that_of_the_loaded_model(prune_it: bool, tmp_path: Path) -> None:
    model = create_model("test_efficientnet", num_classes=5)
    model.reset_classifier(7)
    model = pruned(model) if prune_it else model
    save(model, tmp_path)
    assert same(load(tmp_path), model)


@pytest.mark.nightly
def test_a_model_with_a_new_head_comes_back_and_may_be_pruned_again(tmp_path: Path) -> None:
    small = pruned(create_model("test_efficientnet", num_classes=5))
    small.classifier, small.num_classes = nn.Linear(small.classifier.in_features, 7), 7
    for number, model in enumerate((small, pruned(small))):
        save(model, tmp_path / str(number))
        found = load(tmp_path / str(number))
        assert same(found, model) and found.num_classes == 7 == found.classifier.out_features
    shapes = {"classifier.bias": (7,), "classifier.weight": tuple(small.classifier.weight.shape)}
    assert steps_of(found)[1] == Replaced(shapes)
    save(found, tmp_path / "again")
    assert (tmp_path / "again" / STRUCTURE).read_bytes() == (tmp_path / "1" / STRUCTURE).read_bytes()


@pytest.mark.parametrize("again", [False, True])
def test_a_model_that_was_changed_after_pruning_is_refused(again: bool, tmp_path: Path) -> None:
    small = pruned(create_model("test_efficientnet", num_classes=5))
    small.classifier = nn.Sequential(nn.Linear(small.classifier.in_features, 7))
    small = pruned(small) if again else small
    with pytest.raises(ModelError, match=r"changed since it was pruned: 4 tensors differ, first 'classifier\.0\.bias'"):
        save(small, tmp_path / "small")
    assert not (tmp_path / "small").exists()


def test_a_new_head_needs_a_layer_of_the_same_kind_where_it_was(tmp_path: Path) -> None:
    class Own(nn.Linear):
        """A layer that shapes do not say everything of."""

    def made(layer: type[nn.Linear] = nn.Linear) -> nn.Module:
        return nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), layer(6, 2))

    groups = find_groups(made().eval(), torch.randn(1, 3))
    small = prune(made().eval(), random_plan(groups, 5, 0.4), groups)
    small[4] = nn.Linear(small[4].in_features, 5)
    save(small, tmp_path)
    assert load(tmp_path, made)[4].out_features == 5
    with pytest.raises(ModelError, match="has a Own as 4, where a layer of torch got another size"):
        load(tmp_path, lambda: made(Own))


# -- models that timm does not make


class Net(nn.Module):
    """A convolution and a classifier, with a buffer that is not saved."""

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.stem, self.body = nn.Conv2d(3, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
        self.head = nn.Linear(width, 5)
        self.register_buffer("scale", torch.tensor(0.5), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(self.stem(x).relu()).relu() * self.scale
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_model_of_ones_own_is_loaded_by_a_factory(dtype: torch.dtype, tmp_path: Path) -> None:
    dense = Net()
    for part, model in (("dense", dense), ("small", pruned(dense))):
        save(model.to(dtype), tmp_path / part)
        with pytest.raises(ModelError, match=r"was saved from a \S*test_storage\.Net that timm does not make: give sc"):
            load(tmp_path / part)
        again = load(tmp_path / part, factory=Net)
        assert same(again, model)
        assert not again.training
        save(again, tmp_path / "again")
        assert (tmp_path / "again" / STRUCTURE).read_bytes() == (tmp_path / part / STRUCTURE).read_bytes()


@pytest.mark.nightly
def test_torchvisions_resnet18_goes_the_same_way(tmp_path: Path) -> None:
    small = pruned(torchvision.models.resnet18(num_classes=5).eval(), 32)
    save(small, tmp_path)
    again = load(tmp_path, factory=lambda: torchvision.models.resnet18(num_classes=5))
    x = torch.randn(2, 3, 32, 32)
    assert same(again, small)
    assert torch.equal(again(x), small(x))
    content = json.loads((tmp_path / STRUCTURE).read_text())
    assert content["model"] == {"class": "torchvision.models.resnet.ResNet"}


def test_a_factory_may_be_an_import_path(tmp_path: Path) -> None:
    save(torchvision.models.squeezenet1_1(), tmp_path)
    assert type(load(tmp_path, factory="torchvision.models:squeezenet1_1")) is torchvision.models.SqueezeNet
    with pytest.raises(SecateurError, match="has no squeezenet9: name a function that it has"):
        load(tmp_path, factory="torchvision.models:squeezenet9")
    with pytest.raises(SecateurError, match=r"'squeezenet' is no import path: give package\.module:function"):
        load(tmp_path, factory="squeezenet")


def test_a_factory_of_another_architecture_is_named(tmp_path: Path) -> None:
    save(pruned(Net()), tmp_path / "small")
    save(Net(), tmp_path / "dense")

    def wider() -> nn.Module:
        return Net(16)

    with pytest.raises(ModelError, match=r"the factory \S*wider is built differently from when"):
        load(tmp_path / "small", wider)
    with pytest.raises(ModelError, match=r"does not fit what the factory \S*wider makes .* 5 tensors differ, first"):
        load(tmp_path / "dense", wider)
    with pytest.raises(ModelError, match="gives a int, but must give"):
        load(tmp_path / "dense", lambda: 3)  # type: ignore[arg-type,return-value]


def test_a_timm_model_that_was_changed_before_needs_a_factory(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def changed() -> nn.Module:
        model = create_model("test_efficientnet", num_classes=5)
        model.classifier = nn.Sequential(nn.Linear(model.classifier.in_features, 8), nn.Linear(8, 5))
        return model.eval()

    model = changed()
    save(model, tmp_path)
    assert "timm makes test_efficientnet in another form" in caplog.text
    with pytest.raises(ModelError, match="that timm does not make"):
        load(tmp_path)
    assert same(load(tmp_path, changed), model)


def test_a_factory_may_stand_in_for_timm(folder: Path) -> None:
    again = load(folder, lambda: create_model("vit_tiny_patch16_224", **KWARGS))
    assert same(again, load(folder))


def test_nothing_in_the_file_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(Net(), tmp_path)
    (tmp_path / "evil.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    rewritten(tmp_path, lambda content: content.update(model={"class": "evil.Net"}), former=True)
    with pytest.raises(ModelError, match=r"saved from a evil\.Net"):
        load(tmp_path)
    assert same(load(tmp_path, Net), load(tmp_path, Net))
    assert "evil" not in sys.modules


@pytest.mark.parametrize(
    "model",
    [
        {"name": "subprocess:call", "kwargs": {"args": ["touch", "made"]}},
        *(
            {"name": "vit_tiny_patch16_224", "kwargs": {**KWARGS, key: value}}
            for key, value in {
                "pretrained": True,
                "weights": "made",
                "cache_dir": "made",
                "pretrained_cfg_overlay": {"url": "http://127.0.0.1:9/x"},
            }.items()
        ),
        {"name": "vit_tiny_patch16_224", "kwargs": ["pretrained"]},
    ],
    ids=str,
)
def test_a_handed_folder_opens_and_fetches_nothing(
    model: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("an address was asked"))
    rewritten(folder, lambda content: content.update(model=model), former=True)
    with pytest.raises(ModelError, match=r"timm .* has no model|structure\.json: kwargs"):
        load(folder)
    assert not (folder / "made").exists()


@pytest.mark.parametrize("shape", [[10**9, 10**9], [0, 4], [-1, 4]])
def test_a_layer_of_absurd_size_is_refused(shape: list[int], folder: Path) -> None:
    rewritten(folder, lambda content: content.update(then=[{"replaced": {"head.weight": shape}}]), former=True)
    with pytest.raises(ModelError, match=r"structure\.json is incomplete .*has the sizes"):
        load(folder)


# -- what belongs together


def _move_a_unit(content: dict[str, Any]) -> None:
    """Another unit of the same group stays: all shapes are as before."""
    units = next(units for units in content["plan"]["kept"].values() if units and units[0] > 0)
    units[0] -= 1


def test_a_value_that_was_moved_in_the_structure_is_refused(folder: Path) -> None:
    for change in (
        _move_a_unit,
        lambda content: content["model"]["kwargs"].update(qk_norm=False),
        lambda content: content.update(adapted=["blocks.0.attn"]),
        lambda content: content.update(note="mine"),
    ):
        before = (folder / STRUCTURE).read_bytes()
        rewritten(folder, change)
        with pytest.raises(ModelError, match=r"structure\.json was changed since it was written \(its SHA-256 differs"):
            load(folder)
        (folder / STRUCTURE).write_bytes(before)
    load(folder)


def test_a_structure_of_other_weights_is_refused(folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    save(pruned(create_model("vit_tiny_patch16_224", **KWARGS), share=0.5), tmp_path / "other")
    other = json.loads((tmp_path / "other" / STRUCTURE).read_text())

    def graft(content: dict[str, Any]) -> None:
        content.update({**other, "weights_sha256": content["weights_sha256"]})

    rewritten(folder, graft)
    with pytest.raises(ModelError, match=r"model\.safetensors belongs to another structure\.json"):
        load(folder)


def test_a_digest_cannot_be_left_out(folder: Path) -> None:
    rewritten(folder, lambda content: (_move_a_unit(content), content.pop("structure_sha256"))[0])
    with pytest.raises(ModelError, match="belongs to another structure"):
        load(folder)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_folder_of_before_there_was_a_digest_loads(dtype: torch.dtype, tmp_path: Path) -> None:
    small = pruned(create_model("vit_tiny_patch16_224", **KWARGS)).to(dtype)
    save(small, tmp_path)
    assert same(load(rewritten(tmp_path, lambda content: None, former=True)), small)


def test_damaged_weights_are_refused(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError, match="not the file that was saved"):
        load(folder)


def test_an_architecture_that_timm_builds_differently_now_is_named(folder: Path) -> None:
    rewritten(folder, lambda content: content["model"]["kwargs"].update(num_heads=6), former=True)
    with pytest.raises(ModelError, match="timm's vit_tiny_patch16_224 is built differently from when"):
        load(folder)


@pytest.mark.parametrize("key", ["model", "plan", "shapes"])
def test_an_incomplete_structure_is_refused(key: str, folder: Path) -> None:
    rewritten(folder, lambda content: content.update({key: {"kept": 3}}), former=True)
    with pytest.raises(SecateurError):
        load(folder)
    rewritten_again = json.loads((folder / STRUCTURE).read_text())
    del rewritten_again[key]
    (folder / STRUCTURE).write_text(json.dumps(rewritten_again))
    with pytest.raises(ModelError, match=f"structure.json is incomplete .*{key}"):
        load(folder)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"holds no structure\.json"):
        load(tmp_path)


@pytest.mark.parametrize("classes", [None, Classes(5, (0, 2, 3), ("a", "c", "d"))])
def test_the_traced_dense_model_saves_making_and_tracing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, classes: Classes | None
) -> None:
    torch.manual_seed(0)
    dense = create_model("vit_tiny_patch16_224", **KWARGS)
    dense = specialised(dense, classes) if classes else dense
    groups = find_groups(dense, torch.zeros(1, 3, 16, 16), verify=False)
    save(prune(dense, random_plan(groups, 5, 0.4), groups), tmp_path)
    usual = load(tmp_path)

    def refuse(*words: object, **settings: object) -> None:
        raise AssertionError("the model was made or traced again")

    for name in ("find_groups", "dense_of"):
        monkeypatch.setattr(storage, name, refuse)
    found = load(tmp_path, traced=(dense, groups))
    assert same(found, usual)
    assert steps_of(found) == steps_of(usual)
    assert not found.training
    x = torch.randn(2, 3, 16, 16)
    assert torch.equal(found(x), usual(x))


@pytest.mark.parametrize("other", [{"act_layer": "relu"}, {"depth": 1}])
def test_another_traced_model_is_not_taken(folder: Path, other: dict[str, Any]) -> None:
    """The first one has the same tensors and computes something else."""
    dense = create_model("vit_tiny_patch16_224", **{**KWARGS, **other})
    groups = find_groups(dense, torch.zeros(1, 3, 16, 16), verify=False)
    x = torch.randn(2, 3, 16, 16)
    assert torch.equal(load(folder, traced=(dense, groups))(x), load(folder)(x))


def test_a_loaded_model_is_saved_as_the_same_bytes(tmp_path: Path) -> None:
    """However it was made: the order of the arguments is no part of it."""
    torch.manual_seed(0)
    dense = create_model("vit_tiny_patch16_224", **dict(reversed(KWARGS.items())))
    groups = find_groups(dense, torch.zeros(1, 3, 16, 16), verify=False)
    save(prune(dense, random_plan(groups, 5, 0.4), groups), tmp_path / "first")
    save(load(tmp_path / "first"), tmp_path / "again")
    save(load(tmp_path / "first", traced=(dense, groups)), tmp_path / "cut again")
    for folder in ("again", "cut again"):
        for name in (STRUCTURE, WEIGHTS):
            assert (tmp_path / folder / name).read_bytes() == (tmp_path / "first" / name).read_bytes()


def test_channels_that_come_last_in_memory_still_do(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = create_model("test_resnet", num_classes=3).to(memory_format=torch.channels_last)
    small = pruned(model, size=32)
    wanted = {name for name, one in small.state_dict().items() if is_channels_last(one)}
    assert "layer1.0.conv1.weight" in wanted
    save(small, tmp_path)
    found = load(tmp_path)
    assert {name for name, one in found.state_dict().items() if is_channels_last(one)} == wanted
    assert same(found, small)
    save(found, tmp_path / "again")
    assert (tmp_path / "again" / STRUCTURE).read_bytes() == (tmp_path / STRUCTURE).read_bytes()


@pytest.mark.parametrize(
    ("name", "content"),
    [(STRUCTURE, b"mine"), (STRUCTURE, b'{"schema": "mine/1"}'), (WEIGHTS, b"mine"), (WEIGHTS, "weights")],
)
def test_files_of_others_are_not_written_over(name: str, content: bytes | str, folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "mine"
    place.mkdir()
    if isinstance(content, bytes):
        (place / name).write_bytes(content)
    else:
        save_file({"w": torch.ones(2)}, place / name)
    before, small = (place / name).read_bytes(), load(folder)
    with pytest.raises(ModelError, match=rf"{name} is there already and sc.save has not written it"):
        save(small, place)
    assert [(path.name, path.read_bytes()) for path in place.iterdir()] == [(name, before)]
    save(small, place, overwrite=True)
    save(load(place), place)
