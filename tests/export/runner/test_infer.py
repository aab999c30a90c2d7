"""One picture through a bundle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secateur.export.runner.bundle import open_bundle
from secateur.export.runner.errors import RunnerError
from secateur.export.runner.infer import infer
from secateur.export.runner.npy import read_npy
from secateur.export.runner.runtimes import OrtModel
from tests.export.conftest import needs_ort

pytestmark = needs_ort


def test_the_most_probable_classes_of_a_picture_and_of_its_input(made_bundle: Path) -> None:
    logits = read_npy(made_bundle / "golden" / "outputs.fp32.0.npy", "x")
    names = np.array(["cat", "dog", "eel"])[np.argsort(-logits, axis=1)]
    with open_bundle(made_bundle) as bundle:
        one = infer(bundle, bundle.path("golden/image.1.png"), top=2)
        all_of_them = infer(bundle, bundle.path("golden/inputs.0.npy"), "onnxruntime:cpu", top=3)
    assert [[row["class"] for row in picture] for picture in one["top"]] == [names[1][:2].tolist()]
    assert [[row["class"] for row in picture] for picture in all_of_them["top"]] == names.tolist()
    assert sum(row["probability"] for row in all_of_them["top"][0]) == pytest.approx(1, abs=1e-5)
    assert (one["target"], one["outputs"]["logits"]["shape"]) == ("onnxruntime:cpu", [1, 3])


@pytest.mark.parametrize(("smallest", "largest", "batches"), [(4, 4, [4]), (1, 2, [2, 1]), (1, 0, [3])])
def test_an_engine_that_takes_batches_of_its_own_gets_them(
    made_bundle: Path, monkeypatch: pytest.MonkeyPatch, smallest: int, largest: int, batches: list[int]
) -> None:
    seen: list[int] = []
    run = OrtModel.run

    def counted(self: OrtModel, feeds: Any) -> Any:
        seen.append(len(feeds["input"]))
        return run(self, feeds)

    with open_bundle(made_bundle) as bundle:
        wanted = infer(bundle, bundle.path("golden/inputs.0.npy"), "onnxruntime:cpu")
        monkeypatch.setattr(OrtModel, "run", counted)
        engines = tuple(replace(one, smallest=smallest, largest=largest) for one in bundle.manifest.engines)
        other = replace(bundle, manifest=replace(bundle.manifest, engines=engines))
        assert infer(other, bundle.path("golden/inputs.0.npy"), "onnxruntime:cpu") == wanted
    assert (seen, len(wanted["top"])) == (batches, 3)


def test_an_input_of_another_size(made_bundle: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((1, 5, 5), np.float32))
    with open_bundle(made_bundle) as bundle, pytest.raises(RunnerError, match=r"the model takes .* was given"):
        infer(bundle, tmp_path / "x.npy")
