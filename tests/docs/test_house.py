"""The picture of the house: current, of the rooms that the contract names, and drawn from the imports."""

from __future__ import annotations

import ast
import importlib.util
import re
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import networkx
import pytest

from tests.docs.modules import loaded

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def house() -> ModuleType:
    return loaded("house")


def test_the_committed_picture_is_current(house: ModuleType) -> None:
    assert house.PICTURE.read_text() == house.picture(), "draw it anew: python -P docs/house.py"


def test_the_picture_shows_every_room_with_its_sentence(house: ModuleType) -> None:
    texts = [text.text for text in ElementTree.parse(house.PICTURE).getroot().iter("{http://www.w3.org/2000/svg}text")]
    names = house.rooms()
    assert len(names) == len(set(names)) > 10
    assert set(names) <= set(texts)
    for name in names:
        sentence = house.sentences()[name].replace("`", "")
        assert sentence.split()[0] in str(texts[texts.index(name) + 1]), "each room says what it holds"
        assert sentence.endswith(str(texts[texts.index(name) + (2 if len(sentence) > 42 else 1)])), "all of it fits"


def test_the_table_has_the_rooms_of_the_contract_in_their_order(house: ModuleType) -> None:
    assert list(house.sentences()) == house.rooms()
    folders = re.findall(r"^\| `(secateur[\w.]*)` \| `([\w/]+)` \|", (ROOT / "CONTRIBUTING.md").read_text(), re.M)
    for name, folder in folders:
        assert (ROOT / folder / "__init__.py").exists(), folder
        spec = importlib.util.find_spec(name)
        assert spec is not None and spec.origin is not None
        assert Path(spec.origin).resolve().parent == (ROOT / folder).resolve()


def test_arrows_are_those_that_imports_leave_no_other_way_for(house: ModuleType) -> None:
    graph = house.arrows(house.rooms())
    assert networkx.is_directed_acyclic_graph(graph)
    reachable = networkx.transitive_closure(graph)
    order = {name: index for index, name in enumerate(house.rooms())}
    assert all(order[one] < order[two] for one, two in graph.edges)
    assert reachable.has_edge("secateur.pipeline.plan", "secateur.benchmarks")
    assert reachable.has_edge("secateur.pipeline.cli", "secateur.core")
    assert not reachable.has_edge("secateur.pipeline.data", "secateur.kernels")


def test_a_room_lies_above_all_that_it_knows_and_arrows_pass_the_floors_between(house: ModuleType) -> None:
    graph = networkx.DiGraph(
        [("top", "left"), ("left", "low"), ("low", "ground"), ("top", "right"), ("right", "ground")]
    )
    assert house.floors(graph) == [["ground"], ["low", "right"], ["left", "top>right"], ["top"]]
    where = house.places(graph, house.floors(graph))
    assert [next(iter(floor.values()))[1] for floor in where] == [-float(house.UP * floor) for floor in range(4)]
    for floor in where:
        middles = sorted((x, name) for name, (x, _) in floor.items())
        for (x, one), (u, two) in pairwise(middles):
            room = [(house.LANE if ">" in name else house.WIDTH) / 2 for name in (one, two)]
            assert u - x >= sum(room), f"{one} and {two} overlap"


def defined(path: Path) -> set[str]:
    """The functions, classes and methods (`Class.method`) of a file."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{inner.name}" for inner in node.body if isinstance(inner, ast.FunctionDef)}
    return found


def test_the_way_of_a_score_has_ten_steps_at_most_and_each_is_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text().partition("## The way of a score")[2].partition("\n## ")[0]
    steps = re.findall(r"^(\d+)\. `([\w/]+\.py)`, `([\w.]+)`: ", text, re.M)
    assert [int(number) for number, _, _ in steps] == list(range(1, len(steps) + 1))
    assert len(steps) == len(re.findall(r"^\d+\.", text, re.M)) and 5 <= len(steps) <= 10
    for _, file, name in steps:
        assert name in defined(ROOT / file), f"{file} has no {name}: follow the score anew"
    assert (steps[0][1].split("/")[1], steps[-1][1].split("/")[1]) == ("cli", "report")


def test_the_room_of_a_module(house: ModuleType) -> None:
    names = house.rooms()
    assert house.room_of("secateur.pipeline.scores.lrp.rules", names) == "secateur.pipeline.scores"
    assert house.room_of("secateur.core", names) == "secateur.core"
    assert house.room_of("secateur", names) == ""
    assert house.room_of("secateur.pipeline.scoresheet", names) == ""
