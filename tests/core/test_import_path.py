"""Import paths: their form, what they name, and what is said where they name nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from secateur.core.errors import RecipeError
from secateur.core.files import sha256_file
from secateur.core.import_path import imported, is_import_path, source_digest, takes


def test_the_form_is_a_module_and_a_name() -> None:
    assert all(map(is_import_path, ("a:b", "mine.nets:unet", "_a._b1:C")))
    others = (
        "resnet18",
        "onnxruntime:cpu@fp16",
        "hf-hub:timm/vit",
        "a:b:c",
        "a.b",
        "a b:c",
        "1a:b",
        ":b",
        "a:",
        "a/b:c",
    )
    assert not any(map(is_import_path, others))


def test_the_function_is_imported_when_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "module_of_a_user.py"
    module.write_text("def double(x):\n    return 2 * x\n\nNUMBER = 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert source_digest("module_of_a_user:double") == sha256_file(module)
    assert imported("module_of_a_user:double")(4) == 8
    with pytest.raises(RecipeError, match="has no treble: name a function that it has"):
        imported("module_of_a_user:treble")
    with pytest.raises(RecipeError, match="is a int, but must be a function"):
        imported("module_of_a_user:NUMBER")


def test_what_cannot_be_imported_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_module_of_a_user.py").write_text("raise ValueError('not\\ntoday')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(RecipeError, match=r"cannot be imported \(not today\): install it, or put its folder into"):
        imported("broken_module_of_a_user:f")
    with pytest.raises(RecipeError, match="cannot be imported"):
        imported("no_such_module_anywhere:f")
    with pytest.raises(RecipeError, match="is no import path"):
        imported("focal")
    assert source_digest("no_such_module_anywhere:f") == source_digest("no_such.module:f") == ""


def test_a_function_says_which_arguments_it_takes() -> None:
    path = "tests.pipeline.tasks.small_nets:unet"
    assert takes(path, "classes")
    assert not takes(path, "num_classes")
    assert takes("torchvision.models:resnet18", "num_classes")  # **kwargs
    assert not takes("builtins:dict", "num_classes")  # which has no signature
