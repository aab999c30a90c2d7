"""`structure.json`: every history comes back from it, former files are read, and changed ones are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.core.errors import ModelError, RunError
from secateur.core.files import write_json
from secateur.core.input_spec import InputSpec
from secateur.pipeline.models.spec import Origin, OwnModel
from secateur.pipeline.structure.history import Classes, Step, Units
from secateur.pipeline.structure.plan import Plan
from secateur.pipeline.structure.precision import Precision
from secateur.pipeline.structure.structure_file import Structure, StructureFile

NAMES = st.text(max_size=4)
PRECISIONS = st.builds(
    Precision,
    st.sampled_from(["float16", "float32", "float64"]),
    st.dictionaries(NAMES, st.sampled_from(["bfloat16", "float64"]), max_size=2),
)
PLANS = st.builds(
    Plan,
    st.dictionaries(NAMES, st.sets(st.integers(0, 9), max_size=3).map(sorted).map(tuple), max_size=3),
    st.text("0123456789abcdef", min_size=1, max_size=4),
    st.one_of(
        st.tuples(st.just(3), st.integers(1, 9), st.integers(1, 9)).map(InputSpec.shaped),
        st.just(InputSpec.of({"ids": torch.tensor([[3, 8]]), "more": (torch.zeros(1, 4), None)})),
    ),
)
STEPS = st.one_of(
    st.builds(Units, PLANS, st.lists(NAMES, max_size=2).map(tuple), PRECISIONS),
    st.just(Classes(5, (3, 1), ("d", "b"))),
)
ORIGINS = st.one_of(
    st.builds(Origin, NAMES, st.dictionaries(NAMES, st.one_of(st.integers(), NAMES, st.lists(st.integers())))),
    st.builds(OwnModel, NAMES),
)
STRUCTURES = st.builds(
    Structure,
    ORIGINS,
    st.lists(STEPS, max_size=4).map(tuple),
    st.dictionaries(NAMES, st.lists(st.integers(0, 9), max_size=4).map(tuple), max_size=3),
    st.none() | PRECISIONS,
)
UNITS = Units(Plan({"a": (0, 2)}, "ab", InputSpec.shaped((3, 8, 8))), ("b",))
CLASSES = Classes(5, (3, 1), ("d", "b"))


def written(structure: Structure, path: Path) -> Path:
    StructureFile(structure, "0" * 64, structure.digest).write(path)
    return path


@settings(deadline=None)
@given(structure=STRUCTURES)
def test_every_structure_comes_back(structure: Structure, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = written(structure, tmp_path_factory.getbasetemp() / "structure.json")
    assert StructureFile.read(path) == StructureFile(structure, "0" * 64, structure.digest)


@pytest.mark.parametrize(
    ("steps", "plan", "classes", "then"),
    [
        ((), False, False, 0),
        ((UNITS,), True, False, 0),
        ((CLASSES,), False, True, 0),
        ((CLASSES, UNITS), True, True, 0),
        ((UNITS, CLASSES), True, False, 1),
        ((UNITS, UNITS), True, False, 1),
        ((CLASSES, CLASSES, UNITS), False, True, 2),
    ],
)
def test_what_is_cut_first_stays_where_former_versions_look(
    steps: tuple[Step, ...], plan: bool, classes: bool, then: int, tmp_path: Path
) -> None:
    content = json.loads(written(Structure(Origin("x"), steps, {}), tmp_path / "structure.json").read_text())
    assert (content["plan"] is not None, content["classes"] is not None) == (plan, classes)
    assert len(content.get("then", ())) == then
    assert content["model"] == {"name": "x", "kwargs": {}}


def test_a_file_does_not_depend_on_the_order_of_arguments(tmp_path: Path) -> None:
    for name, kwargs in (("one", {"depth": 2, "num_classes": 5}), ("two", {"num_classes": 5, "depth": 2})):
        structure = Structure(Origin("vit", kwargs), (), {}, Precision())
        StructureFile(structure, "", structure.digest).write(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_former_file_is_read(tmp_path: Path) -> None:
    plan = {"fingerprint": "ab", "input_shape": [3, 8, 8], "kept": {"a": [0, 2]}}
    content = {"model": {"name": "x", "kwargs": {"depth": 2}}, "plan": plan, "adapted": ["b"], "classes": None}
    write_json(tmp_path / "x.json", "structure", {**content, "shapes": {"w": [2]}, "weights_sha256": "1"})
    expected = Structure(Origin("x", {"depth": 2}), (UNITS,), {"w": (2,)})
    assert StructureFile.read(tmp_path / "x.json") == StructureFile(expected, "1", None)


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    path = written(Structure(Origin("x"), (UNITS,), {}), tmp_path / "structure.json")
    text = path.read_text()
    path.write_text(text.replace("2\n", "3\n", 1))
    with pytest.raises(ModelError, match="was changed since it was written"):
        StructureFile.read(path)
    path.write_text(json.dumps(json.loads(text)))  # laid out in another way, it says the same
    StructureFile.read(path)
    path.write_text(text.replace("secateur.structure/1", "secateur.structure/2"))
    with pytest.raises(RunError, match=r"has the schema 'secateur\.structure/2'"):
        StructureFile.read(path)
