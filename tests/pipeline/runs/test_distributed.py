"""Processes of one run: all start, all know what they help with, and none waits for one that has failed."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import pytest
import torch

from secateur.core.errors import RunError
from secateur.pipeline.runs.context import Run
from secateur.pipeline.runs.declarations import recipe_parts
from secateur.pipeline.runs.distributed import check_launch, is_first, lead, take_part, together
from secateur.pipeline.runs.inputs import Inputs, Task
from secateur.pipeline.runs.recipe import make_recipe
from secateur.pipeline.runs.stage import Stage
from tests.forked import finished, started
from tests.pipeline.runs.processes import RECIPE, write_recipe
from tests.ranks import two_ranks_work

SEEDED = make_recipe({**RECIPE, "seed": 5}, "the test")
LAUNCHER = """
os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT), 2)
from accelerate.commands.launch import main
sys.argv[1:] = words
main()
"""
"""`accelerate launch` with these words, whose stderr, and that of what it starts, goes to a file."""


@pytest.mark.skipif(torch.cuda.device_count() > 1, reason="accelerate starts a process for each of several GPUs")
@pytest.mark.nightly
def test_one_process_instead_of_two_is_refused(tmp_path: Path) -> None:
    write_recipe(tmp_path / "run", RECIPE)
    words = ["--num_processes=2", "-m", "secateur", "recover", str(tmp_path / "run")]
    launched = started(LAUNCHER, {"PYTHONSAFEPATH": "1"}, words=words, errors=str(tmp_path / "errors"))
    assert finished(launched) == [1]
    said = (tmp_path / "errors").read_text()
    assert "secateur: accelerate launch was asked for several processes but started only this one" in said
    assert "give it --multi_gpu instead of --cpu" in said
    assert {path.name for path in (tmp_path / "run").iterdir()} == {".secateur-run", "recipe.yaml"}


def test_what_other_launchers_set_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ACCELERATE_USE_CPU", "MASTER_ADDR", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    check_launch()
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")  # of a cluster
    check_launch()
    monkeypatch.setenv("ACCELERATE_USE_CPU", "False")
    with pytest.raises(RunError, match="started only this one"):
        check_launch()
    monkeypatch.setenv("WORLD_SIZE", "2")
    check_launch()


def fail() -> NoReturn:
    raise ValueError("the plan cannot be made")


def count(inputs: Inputs) -> None:
    """What all processes do together: they add up."""
    total = torch.tensor([inputs.recipe.seed])
    torch.distributed.all_reduce(total)
    assert total.item() == 2 * SEEDED.seed


def work(folder: Path) -> None:
    stage = Stage("count", recipe_parts("seed"), lambda inputs, say: [], help=count)

    def one() -> None:
        with together(Task("count", SEEDED.to_yaml())):
            count(stage.inputs(Run(folder, SEEDED), {}))
        if folder.name == "alone":
            fail()
        with together(Task("count", SEEDED.to_yaml())):
            fail()

    if is_first():
        with pytest.raises(ValueError, match="cannot be made"):
            lead(one)
    else:  # the connection is gone where the first one failed at common work
        error, words = (RunError, "first process has failed") if folder.name == "alone" else (RuntimeError, "onnection")
        with pytest.raises(error, match=words):
            take_part(folder, [stage])


@pytest.mark.parametrize("case", ["alone", "together"])
def test_a_process_helps_with_the_first_ones_recipe_and_ends_with_it(case: str, tmp_path: Path) -> None:
    two_ranks_work(__name__, tmp_path / case)
