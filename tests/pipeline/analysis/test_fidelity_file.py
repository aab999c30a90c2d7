"""fidelity.json comes back as it was written, and damage is one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from secateur.core.errors import RunError
from secateur.pipeline.analysis.fidelity import Example, Fidelity
from secateur.pipeline.analysis.fidelity_file import FidelityFile, ShownExample


def test_it_comes_back_as_it_was_written(tmp_path: Path) -> None:
    example = Example(1, 3, torch.rand(3, 4, 4), torch.rand(2, 2), torch.rand(2, 2), 0.5, 0.4)
    found = FidelityFile.of(Fidelity((0.9, 0.5), (0.8, 0.4), (example,)))
    found.save(tmp_path / "fidelity.json")
    assert FidelityFile.load(tmp_path / "fidelity.json") == found
    assert (found.cosine, found.examples) == ((0.9, 0.5), (ShownExample(1, 3),))


def test_damage_is_refused(tmp_path: Path) -> None:
    (tmp_path / "fidelity.json").write_text('{"schema": "secateur.fidelity/1", "cosine": "many"}')
    with pytest.raises(RunError, match=r"fidelity\.json"):
        FidelityFile.load(tmp_path / "fidelity.json")
