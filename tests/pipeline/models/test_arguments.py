"""What a recipe or a saved folder may tell timm: arguments of constructors, and no place to fetch anything from."""

from __future__ import annotations

import inspect
import socket
from typing import Any

import pytest
import timm
from timm.models import build_model_with_cfg, load_pretrained

from secateur.core.errors import ModelError
from secateur.pipeline.models.arguments import (
    OVERLAY,
    check_arguments,
    constructor_arguments,
    own_arguments,
)
from secateur.pipeline.models.create import create_model, dense_of
from secateur.pipeline.models.spec import ModelSpec, Origin
from tests.pipeline.models.small import SMALL, VIT

GOOD: list[tuple[str, dict[str, Any]]] = [
    (VIT, {**SMALL, "act_layer": "gelu", "qkv_bias": False, "init_values": 1e-5}),
    ("resnet18", {"layers": [1, 1, 1, 1], "in_chans": 1, "output_stride": 16, "global_pool": "avg"}),
    ("test_byobnet", {"num_classes": 3, "stem_chs": 24}),
    ("test_efficientnet", {"bn_eps": 1e-3, "drop_path_rate": 0.1, OVERLAY: {"crop_pct": 0.8, "mean": [0.5, 0.5, 0.5]}}),
    ("levit_128s", {"embed_dim": [48, 96, 144], "num_heads": [2, 4, 6], "depth": [1, 1, 1], "num_classes": 4}),
]
BAD: list[tuple[str, Any]] = [
    *(
        (key, True)
        for key in ("pretrained", "features_only", "scriptable", "exportable", "no_jit", "pretrained_strict")
    ),
    *(
        (key, "x.pth")
        for key in ("weights", "checkpoint_path", "checkpoint", "model_cfg", "pretrained_tag", "new_in_timm")
    ),
    ("cache_dir", "place"),
    ("device", "cuda"),
    ("dtype", "float16"),
    ("self", 1),
    ("pretrained_cfg", {"url": "http://127.0.0.1/x"}),
    ("pretrained_cfg", "augreg"),
    ("pretrained_filter_fn", "os"),
    *(
        (OVERLAY, {key: "x"})
        for key in ("url", "file", "hf_hub_id", "hf_hub_filename", "custom_load", "state_dict", "source")
    ),
    (OVERLAY, {"interpolation": "/etc/passwd"}),
    (OVERLAY, "x"),
    *(
        ("act_layer", word)
        for word in ("/etc/passwd", "~/x", "../x", "http://a.b/c", "a.pth", "C:\\x", "x" * 300, "a\nb", "é")
    ),
    ("act_layer", ["gelu", ["../x"]]),
    ("embed_dim", 10**9),
    ("embed_dim", float("nan")),
    ("embed_dim", [[[[[[[[[[1]]]]]]]]]]),
    ("embed_dim", {"a": 1}),
]


@pytest.fixture
def sealed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing may be fetched."""
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("an address was asked"))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: pytest.fail("a name was looked up"))


@pytest.mark.parametrize(("name", "kwargs"), GOOD, ids=[name for name, _ in GOOD])
def test_arguments_of_constructors_are_taken(name: str, kwargs: dict[str, Any], sealed: None) -> None:
    made = create_model(ModelSpec(name, kwargs=kwargs))
    again = dense_of(made.secateur_origin, "structure.json")
    assert {key: value.shape for key, value in made.state_dict().items()} == {
        key: value.shape for key, value in again.state_dict().items()
    }


@pytest.mark.parametrize(("key", "value"), BAD, ids=[f"{key}={str(value)[:20]!r}" for key, value in BAD])
def test_nothing_else_reaches_timm(key: str, value: object, sealed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: pytest.fail("timm was asked"))
    for make in (
        lambda: dense_of(Origin(VIT, {key: value}), "x"),
        lambda: create_model(ModelSpec(VIT, kwargs={key: value})),
    ):
        with pytest.raises(
            ModelError, match=r"^(x|model\.kwargs)\b.*(but must be|but may change only|which is no argument)"
        ):
            make()


@pytest.mark.parametrize("name", ["subprocess:call", "os:system", "hf-hub:timm/resnet18", "local-dir:/tmp", "../x", ""])
def test_a_saved_folder_names_a_model_of_timm_alone(name: str, sealed: None) -> None:
    with pytest.raises(ModelError, match="has no model"):
        dense_of(Origin(name, {"command": "true"}), "x")


def test_no_architecture_lets_a_loader_argument_through() -> None:
    loaders = (timm.create_model, build_model_with_cfg, load_pretrained)
    taken = {name for one in loaders for name in inspect.signature(one).parameters} - {"num_classes", "in_chans"}
    assert {"cache_dir", "pretrained", "checkpoint_path", "pretrained_cfg"} <= taken
    for name in timm.list_models()[::25]:
        assert not constructor_arguments(name) & taken, name


def test_what_is_no_section_is_refused() -> None:
    with pytest.raises(ModelError, match="must be a section of arguments"):
        check_arguments(VIT, ["pretrained"], "structure.json")  # type: ignore[arg-type]  # as a file may hold it


def test_only_what_makes_the_architecture_is_remembered() -> None:
    given = {**SMALL, "cache_dir": "x", OVERLAY: {"file": "x", "crop_pct": 0.8}, "act_layer": "gelu"}
    assert own_arguments(VIT, given) == {**SMALL, "act_layer": "gelu", OVERLAY: {"crop_pct": 0.8}}
