"""Registries: only what is asked for is imported, duplicates raise, a miss lists the choices, packages add theirs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from secateur.core.errors import PlanError
from secateur.core.registry import Registry


def package(folder: Path, name: str, value: str, source: str) -> None:
    """An installed distribution `theirs` whose entry point `name` of the group `secateur.things` is `value`."""
    (folder / "theirs.py").write_text(source)
    about = folder / "theirs-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[secateur.things]\n{name} = {value}\n")


def test_only_the_module_that_is_asked_for_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    things: Registry[str] = Registry("thing", {"one": "reg_one", "two": "reg_two"})
    (tmp_path / "reg_one.py").write_text("import tests_things\ntests_things.things.register('one')('first')\n")
    (tmp_path / "reg_two.py").write_text("raise RuntimeError('not asked for')\n")
    (tmp_path / "tests_things.py").write_text("things = None\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import tests_things  # type: ignore[import-not-found]

    tests_things.things = things
    assert things.names() == things.own() == ("one", "two")
    assert things.find("one") == "first"
    assert "reg_two" not in sys.modules


def test_a_duplicate_raises() -> None:
    things: Registry[int] = Registry("thing", {})
    things.register("one")(1)
    with pytest.raises(ValueError, match="'one' is registered twice"):
        things.register("one")(2)


def test_a_thing_knows_its_name() -> None:
    things: Registry[list[int]] = Registry("thing", {})
    one = things.register("one")([])
    assert things.name_of(one) == "one"
    assert things.name_of([]) == ""


def test_a_miss_lists_the_choices_and_a_near_one() -> None:
    things: Registry[int] = Registry("thing", {"knapsack": "x", "global": "y"})
    with pytest.raises(PlanError, match=r"no thing 'knapsac', but global, knapsack.*knapsack"):
        things.find("knapsac")


def test_a_module_that_registers_nothing_is_named() -> None:
    with pytest.raises(ValueError, match="nothing registered the thing 'json'"):
        Registry("thing", {"json": "json"}).find("json")


def test_an_installed_package_adds_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(tmp_path, "mine", "theirs:thing", "thing = 42\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    things: Registry[int] = Registry("thing", {}, "secateur.things")
    assert things.names() == ("mine",)
    assert things.own() == ()
    assert things.find("mine") == 42


def test_a_broken_package_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(tmp_path, "mine", "theirs:absent", "")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(PlanError, match="'mine' of theirs:absent cannot be imported"):
        Registry("thing", {}, "secateur.things").find("mine")


def test_a_package_cannot_take_a_name_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(tmp_path, "global", "theirs:thing", "thing = 42\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ValueError, match="has the name of one of ours"):
        Registry("thing", {"global": "x"}, "secateur.things").names()
    with pytest.raises(ValueError, match="has the name of one of ours"):
        Registry("thing", {"global": "json"}, "secateur.things").find("global")


def test_making_a_registry_imports_nothing_heavy() -> None:
    code = "import sys, secateur.core.registry; assert not {'torch', 'optuna', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-P", "-c", code], check=True)
