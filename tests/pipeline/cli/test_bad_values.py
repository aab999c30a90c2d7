"""Bad values: for every key of a recipe, one sentence with exit code 2 before anything is written."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
import yaml

from secateur.export.precision import TOLERANCES
from secateur.pipeline.cli import main
from secateur.pipeline.plan.spec import PlanSpec
from secateur.pipeline.runs import runner
from secateur.pipeline.runs.recipe import Recipe, make_recipe
from secateur.pipeline.runs.run_folder import LOCK, RUN, claim

TRUTH = ("maybe", "[true]", "2")
SHARE = ("-0.1", "1.1", ".nan", "half", "true", "null")
COUNT = ("-1", "1.5", "few", "true", "null")
POSITIVE = (*COUNT, "0")
NUMBER = ("0", "-1", ".nan", "some", "true", "null")
BAD: dict[str, tuple[str, ...]] = {
    "model.name": ("vit_tiny_patch16_242", "5", "null", "''"),
    "model.weights": ("absent.safetensors", "''", "[a]", "true"),
    "model.pretrained": (*TRUTH, "null"),
    "model.kwargs": ("{embed_dims: 48}", "{depth: two}", "{depth: 1, checkpoint_path: x}", "[1]", "text"),
    "model.ema": (*TRUTH, "true"),
    "model.input_size": ("[3, 0, 8]", "[3, 8]", "5", "true", "[3, 15, 15]"),
    "model.mean": ("[0.5, 0.5]", "[]", "0.5", "[grey]", "[.nan]", "[true]"),
    "model.std": ("[0.5, 0.5]", "[0]", "0.5", "[-1]", "[.inf]"),
    "model.crop_pct": ("0", "1.1", "-0.5", ".nan", "most", "true"),
    "model.interpolation": ("cubic", "5", "true"),
    "data.path": ("absent", "''", "null", "[images.npz]"),
    "data.calibration": ("absent", "5"),
    "data.evaluation": ("absent", "5"),
    "data.held_out": ("0", "1", "-0.5", ".nan", "some", "true"),
    "data.num_classes": ("0", "3", "-1", "many", "2.5", "true"),
    "data.class_map": ("absent.txt", "5", "''"),
    "data.file_column": ("image", "''", "5", "null", "label"),
    "data.label_column": ("class", "''", "5", "null", "file"),
    "data.duplicates": ("keep", "5", "null"),
    "budget.macs": ("0", "1.5", "-1", ".nan", "half", "3ms", "0M", "900T", "infM", "true", "[1]"),
    "budget.params": ("0", "1.5", "some", "900G", "true"),
    "budget.units": ("0", "1.5", "600M", ".inf", "true"),
    "budget.bit_ops": ("0", "1.5", "600M", "half", "true"),
    "budget.latency": ("0", "2", "5M", "fast", "true"),
    "budget.target": ("torch:cpu", "5"),
    "score.method": ("tailor", "5", "null", "''"),
    "score.samples_per_class": COUNT,
    "score.batch_size": POSITIVE,
    "score.options": ("{metricc: trace}", "[1]", "text"),
    "score.loss": ("focal", "here:there", "5", "true", "''"),
    "plan.allocate": ("globe", "5", "null"),
    "plan.align": POSITIVE,
    "plan.kinds": ("[mlps]", "[]", "head", "[5]", "null", "[channel]"),
    "plan.skip": ("['nothing.like.this*']", "['*']", "blocks.0*", "[5]"),
    "plan.rounds": (*POSITIVE, "65", "[4]"),
    "plan.least": ("-1", "1.5", "few", "true"),
    "plan.evolution.population": (*POSITIVE, "2"),
    "plan.evolution.generations": POSITIVE,
    "plan.evolution.images": POSITIVE,
    "plan.evolution.storage": ("5", "null", "not a database"),
    "plan.xpruner.steps": POSITIVE,
    "plan.xpruner.batch_size": POSITIVE,
    "plan.xpruner.images": COUNT,
    "plan.xpruner.start": ("0", "1", ".nan", "half", "true"),
    "plan.xpruner.cool": NUMBER,
    "plan.xpruner.sharp": NUMBER,
    "plan.xpruner.lr": (*NUMBER, "0.2"),
    "plan.xpruner.ascent": NUMBER,
    "plan.xpruner.loss": ("divergance", "5", "null"),
    "recover.compensate": TRUTH,
    "recover.ridge": ("-1", ".nan", "much", "true"),
    "recover.front_to_back": TRUTH,
    "recover.adapt_statistics": TRUTH,
    "recover.samples_per_class": COUNT,
    "recover.batch_size": POSITIVE,
    "recover.reconstruct.epochs": COUNT,
    "recover.reconstruct.batch_size": (*POSITIVE, "64"),
    "recover.reconstruct.lr": ("0", "-1", ".nan", "fast", "true"),
    "recover.reconstruct.held_out": (*SHARE, "0", "1"),
    "recover.reconstruct.features": ("-1", ".nan", "some", "true"),
    "recover.reconstruct.temperature": NUMBER,
    "recover.reconstruct.mix": SHARE,
    "recover.reconstruct.scale": (*SHARE, "0"),
    "recover.reconstruct.flip": SHARE,
    "recover.reconstruct.augment": ("5", "null", "nonsense", "rand-x9"),
    "recover.reconstruct.ema": (*SHARE, "1"),
    "recover.reconstruct.precision": ("fp13", "16", "null"),
    "recover.reconstruct.workers": COUNT,
    "recover.distill.epochs": COUNT,
    "recover.distill.batch_size": (*POSITIVE, "64"),
    "recover.distill.accumulate": POSITIVE,
    "recover.distill.lr": ("-1", ".inf", "fast", "true"),
    "recover.distill.weight_decay": ("-1", ".nan", "some", "true"),
    "recover.distill.warmup": SHARE,
    "recover.distill.clip": NUMBER,
    "recover.distill.temperature": NUMBER,
    "recover.distill.features": ("-1", ".nan", "some", "true"),
    "recover.distill.labels": SHARE,
    "recover.distill.mix": SHARE,
    "recover.distill.scale": (*SHARE, "0"),
    "recover.distill.flip": SHARE,
    "recover.distill.augment": ("5", "null", "nonsense", "rand-x9"),
    "recover.distill.ema": (*SHARE, "1"),
    "recover.distill.precision": ("fp13", "16", "null"),
    "recover.distill.workers": COUNT,
    "recover.distill.checkpoint_steps": POSITIVE,
    "export.precisions": ("[fp13]", "[]", "fp16", "[fp16, fp16]", "[16]"),
    "export.targets": ("[onnxruntime:gpu]", "onnxruntime:cpu", "[5]", "['']"),
    "export.max_drop": ("-1", ".nan", "little", "true", "0.5"),
    **{f"export.parity.{word}": ("0", "1", "-0.1", ".nan", "tight", "true", "null") for word in TOLERANCES},
    "export.preprocessing": ("outsid", "5", "null", "true"),
    "export.engines.hardware": ("turing", "5", "null", "true"),
    "export.engines.versions": ("older", "5", "null", "true"),
    "export.quantize.rule": ("mean", "5", "null", "true"),
    "export.quantize.recentre": TRUTH,
    "export.quantize.balance": SHARE,
    "export.quantize.correct": TRUTH,
    "export.quantize.softmax": ("two", "1", "null"),
    "export.quantize.keep": ("blocks.0*", "[5]", "null"),
    "export.quantize.ends": TRUTH,
    "export.quantize.runtime": ("torch", "5", "null", "true"),
    "export.quantize.rest": ("fp8", "5", "null", "true"),
    "export.quantize.samples_per_class": COUNT,
    "export.quantize.batch_size": POSITIVE,
    "export.quantize.drop_images": COUNT,
    "bench.batch": ("[0]", "[]", "[1, 1]", "[-4]", "[one]", "8", "[1.5]", "[true]"),
    "bench.targets": ("[tensorrt:cpu]", "[]", "torch:cpu", "[torch:cpu, torch:cpu]"),
    "bench.processes": ("0", "51", "2.5", "many", "true"),
    "bench.seconds": ("0", "-1", ".nan", ".inf", "long", "true", "null", "1e9"),
    "bench.threads": ("0", "-2", "1.5", "all", "true", "100000"),
    "bench.modes": ("[warm]", "[]", "hot", "[hot, hot]", "['concurrent:1']", "['cold:2']", "[5]", "null"),
    "bench.samples": ("0", "19", "-1", "1.5", "many", "true"),
    "report.images": COUNT,
    "report.examples": COUNT,
    "report.rules": ("epsilom", "5", "null", "''"),
    "classes": ("['7']", "['0', '0']", "['0', seven]", "'0'", "[0, 1]"),
    "seed": (*COUNT, "4294967296"),
    "task.name": ("regres", "5", "null", "true"),
    "task.higher_is_better": ("2", "maybe", "true"),
    **{f"task.{key}": ("here:there", "5", "true") for key in ("loss", "metric", "decode", "output", "labels")},
}
BESIDE = {
    "score.loss": ("--set", "score.method=taylor"),
    "budget.latency": ("--set", "budget.target=onnxruntime:cpu"),
    "recover.distill.batch_size": ("--set", "recover.distill.epochs=1"),
    "recover.reconstruct.batch_size": ("--set", "recover.reconstruct.epochs=1"),
}
"""What must be set too, for a value to be the only mistake."""


def keys(kind: type[Any] = Recipe, place: str = "") -> Iterator[str]:
    """Every key of a recipe that holds a value."""
    kind = PlanSpec.kind_for({}) if kind is PlanSpec else kind  # with the sections of the allocations
    hints = get_type_hints(kind)
    for item in fields(kind):
        if is_dataclass(hints[item.name]):
            yield from keys(hints[item.name], f"{place}{item.name}.")
        else:
            yield f"{place}{item.name}"


def test_every_key_has_bad_values() -> None:
    assert sorted(keys()) == sorted(BAD)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe of two classes that works, and a run directory of it in which no stage has run."""
    folder = tmp_path_factory.mktemp("bad")
    rng = np.random.default_rng(0)
    np.savez(
        folder / "images.npz", images=rng.integers(0, 255, (12, 16, 16, 3), dtype=np.uint8), labels=np.arange(12) % 2
    )
    kwargs = {"img_size": 16, "patch_size": 8, "embed_dim": 48, "depth": 1, "num_heads": 3, "num_classes": 2}
    content = {
        "model": {"name": "vit_tiny_patch16_224", "kwargs": kwargs},
        "data": {"path": str(folder / "images.npz")},
        "budget": {"macs": 0.5},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(content))
    claim(folder / "run", RUN)
    (folder / "run" / LOCK).touch()
    (folder / "written.yaml").write_text(make_recipe(content, "test").to_yaml())
    return folder


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in BAD.items() for value in values])
def test_a_bad_value_is_refused_before_anything_is_written(
    key: str, value: str, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "_through_stages", lambda *_: pytest.fail(f"{key}={value} was let through"))
    (folder / "run" / "recipe.yaml").write_text((folder / "written.yaml").read_text())
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    begun = ["report", "--all", str(folder / "run")]  # one value of each key, since both read recipes alike
    for words in (
        *([begun] if value == BAD[key][0] else []),
        ["run", str(folder / "recipe.yaml"), "--out", str(folder / "new")],
    ):
        with pytest.raises(SystemExit) as ended:
            main([*words, *BESIDE.get(key, ()), "--set", f"{key}={value}"])
        said = capsys.readouterr()
        assert ended.value.code == 2, said
        assert said.out == ""
        assert said.err.startswith("secateur: ") and said.err.count("\n") == 1, said.err
        section, _, last = key.rpartition(".")
        assert (section or key) in said.err, said.err
        assert any(word in said.err for word in [last, *re.findall(r"[\w.]+", value)]), said.err
        assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
        assert not (folder / "new").exists()
