"""`secateur inspect`: what can go, in which steps, at what share of the cost; and what cannot, with the reason."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from click.testing import CliRunner
from torch import Tensor, nn

import secateur as sc
from secateur.export.notes import deployment_notes
from secateur.export.preprocessing import Preprocessing
from secateur.pipeline import cli
from secateur.pipeline.structure.find import find_groups
from secateur.pipeline.structure.groups import Groups, Unverifiable
from tests.pipeline.tasks.small_tasks import recipe_for


def test_json_has_every_group_with_its_cost_and_the_steps_that_keep_widths_aligned() -> None:
    result = CliRunner().invoke(cli.cli, ["inspect", "test_vit2", "--json", "--align", "16"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    model = timm.create_model("test_vit2").eval()
    assert found["params"] == sum(parameter.numel() for parameter in model.parameters())
    groups = find_groups(model, torch.zeros(1, *found["input_shape"]), verify=False)
    rows = {row["name"]: row for row in found["groups"]}
    assert set(rows) == {group.name for group in groups}
    dims = rows["blocks.0.attn.v"]["units"] // rows["blocks.0.attn.v"]["blocks"]
    assert rows["blocks.0.attn.heads"]["step"] == max(1, 16 // dims)
    assert rows["blocks.0.mlp.hidden"]["step"] == 16
    assert 0 < rows["blocks.0.mlp.hidden"]["macs_share"] < rows["patch_embed.proj.width"]["macs_share"] < 1


def test_the_table_names_the_reason_of_what_is_fixed() -> None:
    result = CliRunner().invoke(cli.cli, ["inspect", "test_resnet"], terminal_width=200)
    assert result.exit_code == 0, result.output
    assert "GMACs" in result.stdout
    groups = find_groups(timm.create_model("test_resnet").eval(), torch.zeros(1, 3, 160, 160))
    for one in groups.fixed:
        assert f"fixed: {one.name} ({one.kind}, {one.units} units)" in " ".join(result.stdout.split())


def test_groups_that_are_not_verifiable_and_operations_not_counted_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def found(model: nn.Module, x: Tensor) -> Groups:
        groups = find_groups(model, x, verify=False)
        hidden = Unverifiable(groups[0].name, "nothing moves")
        return replace(groups, unverifiable=(hidden,), uncounted=("aten::cdist in head",), one_size=("blocks.0",))

    monkeypatch.setattr("secateur.pipeline.structure.find.find_groups", found)
    result = CliRunner().invoke(cli.cli, ["inspect", "test_vit2"], terminal_width=200)
    assert result.exit_code == 0, result.output
    said = " ".join(result.stdout.split())
    assert "not verifiable: patch_embed.proj.width: nothing moves" in said
    assert "one size: the code of blocks.0, once pruned, takes inputs of this size only" in said
    assert "not counted: aten::cdist in head may carry MACs that nobody knows here" in said


@pytest.mark.parametrize("align", ["0", "eight"])
def test_an_alignment_is_a_positive_number(align: str) -> None:
    assert CliRunner().invoke(cli.cli, ["inspect", "test_vit2", "--align", align]).exit_code == 2


def test_a_run_of_a_model_by_its_import_path_is_made_by_its_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_for("segment", tmp_path)
    sc.run(recipe, tmp_path / "run", until="recover")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "of another user"))
    with pytest.raises(sc.SecateurError, match=r"would import tests\.pipeline\.tasks\.small_nets:unet, and .*--trust"):
        sc.run(None, tmp_path / "run")
    sc.run(recipe, tmp_path / "run", until="recover")
    result = CliRunner().invoke(cli.cli, ["inspect", str(tmp_path / "run"), "--json"])  # of one's own, unasked
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["input_shape"] == [3, 16, 16]
    shown = CliRunner().invoke(cli.cli, ["inspect", str(tmp_path / "run")])
    assert "the pruned model of" in shown.stdout


def test_files_show_what_they_carry(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    rule = Preprocessing((3, 8, 8), (0.5,) * 3, (0.25,) * 3)
    module = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
    sc.export_onnx(module, path, input_shape=(3, 8, 8), metadata=deployment_notes(rule, ("cat", "dog")))
    sc.build_engine(path, "onnxruntime:cpu")
    for word in (path, tmp_path / "engines" / "onnxruntime-cpu"):
        result = CliRunner().invoke(cli.cli, ["inspect", str(word)])
        assert result.exit_code == 0, result.output
        for line in (
            "takes: input float32 [batch, 3, 8, 8]",
            "resizing: bicubic, crop center 0.875, 8 x 8",
            "normalisation: outside: mean (0.5, 0.5, 0.5), std (0.25, 0.25, 0.25)",
            "classes: 2: cat, dog",
        ):
            assert line in result.stdout.splitlines()
        found = json.loads(CliRunner().invoke(cli.cli, ["inspect", str(word), "--json"]).stdout)
        assert (found["classes"], found["precision"]) == (["cat", "dog"], "fp32")
    (tmp_path / "bad.onnx").write_bytes(b"\xff")
    result = CliRunner().invoke(cli.cli, ["inspect", str(tmp_path / "bad.onnx")])
    assert isinstance(result.exception, sc.SecateurError)
