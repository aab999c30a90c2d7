"""Which words of a recipe would be imported."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from secateur.core.errors import RunError
from secateur.pipeline.runs.recipe import make_recipe
from secateur.pipeline.runs.run_folder import RUN, claim
from secateur.pipeline.runs.trust import check_trusted, imports_of

PLAIN = {"model": {"name": "test_vit"}, "data": {"path": "digits"}, "budget": {"macs": 0.6}}
OWN = {**PLAIN, "model": {"name": "nowhere.nets:unet"}}


def test_targets_only_look_like_import_paths() -> None:
    assert imports_of(make_recipe({**PLAIN, "bench": {"targets": ["torch:cpu", "onnxruntime:cpu"]}}, "x")) == ()
    assert imports_of(make_recipe(OWN, "x")) == ("nowhere.nets:unet",)


def test_a_handed_run_is_opened_where_it_is_trusted(tmp_path: Path) -> None:
    claim(tmp_path, RUN)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(OWN))
    with pytest.raises(RunError, match=r"would import nowhere\.nets:unet, and what is imported runs: add --trust"):
        check_trusted(tmp_path, trusted=False)
    check_trusted(tmp_path, trusted=True)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(PLAIN))
    check_trusted(tmp_path, trusted=False)
