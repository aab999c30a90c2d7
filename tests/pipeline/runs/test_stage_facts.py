"""What finished stages say of themselves."""

from __future__ import annotations

from pathlib import Path

import torch

from secateur.pipeline.recover.repairs_file import RepairsFile
from secateur.pipeline.recover.ridge import Repair
from secateur.pipeline.runs.stage_facts import stage_facts
from secateur.pipeline.scores.score import Scores
from secateur.pipeline.structure.describe import describe
from secateur.pipeline.structure.groups import Groups
from secateur.pipeline.structure.plan import plan_from_kept
from tests.pipeline.structure.test_plan import FACTS


def test_a_plan_says_how_many_units_of_each_kind_go(vit_groups: Groups, tmp_path: Path) -> None:
    describe(vit_groups).save(tmp_path / "groups.json")
    plan = plan_from_kept(vit_groups, {"blocks.0.mlp.hidden": range(150), "blocks.1.attn.heads": [0, 2]}, FACTS)
    plan.save(tmp_path / "plan.json")
    said = stage_facts(tmp_path, "plan")
    assert said[0] == "what stays: 50.0 % of the MACs, 66.7 % of the parameters"
    assert "mlp_hidden: 42 of 384 units go, from 1 of 2 groups" in said
    assert "head: 1 of 6 units go, from 1 of 2 groups" in said
    assert "v_dim: 16 of 96 units go, from 1 of 2 groups" in said  # those of the head
    assert stage_facts(tmp_path, "prune") == said
    plan_from_kept(vit_groups, {}).save(tmp_path / "plan.json")
    assert stage_facts(tmp_path, "plan") == ("no unit goes",)


def test_scores_say_their_method_and_how_many_units_they_are_of(tmp_path: Path) -> None:
    values = {"a": torch.zeros(3), "b": torch.zeros(2, 5)}  # the second by class
    Scores(values, "taylor").save(tmp_path / "scores.safetensors")
    assert stage_facts(tmp_path, "score") == ("scored by taylor: 8 units in 2 groups",)


def test_repairs_say_how_far_the_error_falls(tmp_path: Path) -> None:
    assert stage_facts(tmp_path, "recover") == ("nothing was repaired in closed form (recover.compensate is false)",)
    layers = (
        Repair("a", "columns", 0.1, 3.0, 1.0),
        Repair("b", "none", None, 9.0, 9.0),
        Repair("c", "x", 0.1, 1.0, 1.0),
    )
    RepairsFile(layers).save(tmp_path / "repairs.json")
    assert stage_facts(tmp_path, "recover") == (
        "repaired in closed form: 2 layers, whose error on held-out images falls to 50%",
    )


def test_graphs_have_their_sizes_and_other_stages_nothing_to_say(finished: Path) -> None:
    said = stage_facts(finished, "export")
    assert {line.partition(": ")[0] for line in said} == {"model.onnx", "model.dense.onnx"}
    assert f"{(finished / 'model.onnx').stat().st_size / 1e6:.2f} MB" in said[-1] + said[0]
    assert stage_facts(finished, "bench") == stage_facts(finished, "report") == ()
