"""Which words of a recipe would be imported, and who is asked first."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

import secateur as sc
from secateur.core.errors import RunError
from secateur.core.import_path import imported
from secateur.pipeline.cli import COMMANDS, cli
from secateur.pipeline.runs.recipe import Recipe, make_recipe
from secateur.pipeline.runs.run_folder import RUN, claim
from secateur.pipeline.runs.runner import open_run, trust_runs
from secateur.pipeline.runs.trust import check_trusted, imports_of, recipe_to_run, remember

PLAIN = {"model": {"name": "test_vit"}, "data": {"path": "digits"}, "budget": {"macs": 0.6}}
OWN = {**PLAIN, "model": {"name": "nowhere.nets:unet"}}
WORDS = {
    "build": ["RUN"],
    "bench": ["RUN"],
    "bench --against": ["RUN/model.onnx", "--against", "RUN"],
    "bundle": ["RUN"],
    "curve": ["RUN"],
    "export": ["RUN"],
    "gate": ["RUN"],
    "gate --calibrate": ["RUN", "--calibrate"],
    "gate of two": ["RUN", "RUN/bench.json"],
    "inspect": ["RUN"],
    "plan": ["RUN"],
    "profile": ["RUN"],
    "profile --layers": ["RUN", "--layers"],
    "prune": ["RUN"],
    "prune --classes": ["RUN", "--classes", "0,1"],
    "recover": ["RUN"],
    "report": ["RUN"],
    "report --all": ["RUN", "--all"],
    "run": ["RUN/recipe.yaml", "--out", "RUN-again"],
    "run --dry-run": ["RUN/recipe.yaml", "--out", "RUN-again", "--dry-run"],
    "score": ["RUN"],
    "score --search": ["RUN", "--search", "1"],
    "score --set": ["RUN", "--set", "score.method=random"],
    "serving": ["RUN"],
    "sweep": ["RUN/recipe.yaml", "--out", "RUN-sweep"],
}
NO_RUN = ("demo", "init", "recipes", "compare", "history", "verify", "device", "doctor", "explain", "completion")
"""Commands that open no run directory by its recipe."""
NAMED = {
    "model": {"model": {"name": "handed_code:make"}},
    "a package": {"model": {"name": "handed_package.inner:make"}},
    "loss": {"score": {"method": "taylor", "loss": "handed_code:make"}},
    "task": {"task": {"name": "custom", "loss": "handed_code:make", "metric": "handed_code:make"}},
}


@pytest.fixture
def trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file that handed code writes when it is imported; it lies where Python finds it."""
    written, code = tmp_path / "imported", tmp_path / "path"
    (code / "handed_package").mkdir(parents=True)
    for name in ("handed_code.py", "handed_package/__init__.py", "handed_package/inner.py"):
        (code / name).write_text(f"open({str(written)!r}, 'w').close()\ndef make(*words, **more): ...\n")
    monkeypatch.syspath_prepend(code)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    yield written
    imported.cache_clear()
    for name in [name for name in sys.modules if name.startswith("handed_")]:
        del sys.modules[name]


def handed(tmp_path: Path, content: dict[str, object]) -> Path:
    """A run directory that somebody else has made."""
    folder = tmp_path / "handed"
    claim(folder, RUN)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(content))
    return folder


def recipe(**kwargs: object) -> Recipe:
    return make_recipe({**OWN, "model": {"name": "nowhere.nets:unet", "kwargs": kwargs}}, "x")


def test_targets_only_look_like_import_paths() -> None:
    assert imports_of(make_recipe({**PLAIN, "bench": {"targets": ["torch:cpu", "onnxruntime:cpu"]}}, "x")) == ()
    assert imports_of(make_recipe(OWN, "x")) == ("nowhere.nets:unet",)


def test_every_command_is_looked_at() -> None:
    assert {words.split()[0] for words in WORDS} | {*NO_RUN} == {*COMMANDS}


@pytest.mark.parametrize("command", WORDS)
def test_no_command_imports_the_code_of_a_handed_run(command: str, tmp_path: Path, trace: Path) -> None:
    folder = handed(tmp_path, {**PLAIN, **NAMED["model"]})
    before = sorted(tmp_path.rglob("*"))
    words = [command.split()[0], *(word.replace("RUN", str(folder)) for word in WORDS[command])]
    refused = CliRunner().invoke(cli, words)
    assert isinstance(refused.exception, sc.SecateurError), refused.output
    assert refused.exception.exit_code == 2
    assert "would import handed_code:make, and what is imported runs: add --trust" in str(refused.exception)
    assert not trace.exists()
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("named", NAMED.values(), ids=NAMED)
def test_nothing_of_a_handed_recipe_is_imported(named: dict[str, object], tmp_path: Path, trace: Path) -> None:
    folder = handed(tmp_path, {**PLAIN, **named})
    calls: list[Callable[[], object]] = [
        lambda: sc.run(None, folder),
        lambda: sc.run(folder / "recipe.yaml", tmp_path / "again"),
        lambda: sc.sweep(str(folder / "recipe.yaml"), [0.5], tmp_path / "sweep"),
        lambda: sc.gate(folder),
        lambda: sc.bench(folder),
        lambda: sc.bench("test_vit", folder),
    ]
    for call in calls:
        with pytest.raises(RunError, match=r"would import handed_.*in Python trust=True"):
            call()
        assert not trace.exists()


def test_trusted_code_is_imported(tmp_path: Path, trace: Path) -> None:
    folder = handed(tmp_path, {**PLAIN, **NAMED["model"]})
    result = CliRunner().invoke(cli, ["plan", str(folder), "--trust"])
    assert "handed_code:make" in str(result.exception)  # it makes no model
    assert trace.exists()
    with pytest.raises(sc.SecateurError, match=r"handed_code:make gives a NoneType"):
        sc.run(None, folder)  # from then on


@pytest.mark.parametrize("call", [lambda folder: sc.run(None, folder, trust=True), lambda f: sc.gate(f, trust=True)])
def test_python_trusts_too(call: Callable[[Path], object], tmp_path: Path, trace: Path) -> None:
    folder = handed(tmp_path, {**PLAIN, **NAMED["model"]})
    with pytest.raises(sc.SecateurError) as refused:
        call(folder)
    assert "would import" not in str(refused.value)


def test_a_run_that_this_user_made_goes_on_wherever_it_is_and_a_changed_one_does_not(
    tmp_path: Path, trace: Path
) -> None:
    remember(recipe(depth=2))
    check_trusted(recipe(depth=2), tmp_path)
    check_trusted(replace(recipe(depth=2), seed=5), tmp_path)
    for other in (recipe(depth=3), recipe()):
        with pytest.raises(RunError, match=r"would import nowhere\.nets:unet"):
            check_trusted(other, tmp_path)
    check_trusted(recipe(depth=3), tmp_path, trust=True)
    check_trusted(recipe(depth=3), tmp_path)


def test_a_module_of_the_same_name_elsewhere_is_other_code(
    tmp_path: Path, trace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = make_recipe({**PLAIN, **NAMED["model"]}, "x")
    remember(mine)
    check_trusted(mine, tmp_path)
    (tmp_path / "unpacked").mkdir()
    (tmp_path / "unpacked" / "handed_code.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path / "unpacked")
    with pytest.raises(RunError, match="would import handed_code:make"):
        check_trusted(mine, tmp_path)


def test_a_recipe_of_the_users_own_is_theirs_to_run(tmp_path: Path, trace: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({**PLAIN, **NAMED["model"]}))
    assert imports_of(recipe_to_run(path)) == ("handed_code:make",)
    assert not trace.exists()


def test_what_cannot_be_noted_down_is_said(
    tmp_path: Path, trace: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "state").write_text("")
    with caplog.at_level(logging.WARNING):
        remember(recipe())
    assert "later commands on this run will ask for --trust: cannot write" in caplog.text
    with pytest.raises(RunError, match="cannot write"):
        trust_runs(handed(tmp_path, OWN), "test_vit", None)
    with pytest.raises(RunError, match="add --trust"):
        open_run(tmp_path / "handed")
