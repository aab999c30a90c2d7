"""Outputs by name."""

from __future__ import annotations

import pytest
import torch

from secateur.core.errors import ExportError
from secateur.export.forward import flat_outputs


def test_names_of_outputs() -> None:
    a, b, c = (torch.full((1,), float(number)) for number in range(3))
    assert flat_outputs(a) == {"logits": a}
    assert list(flat_outputs((a, [b, c]))) == ["output_0", "output_1_0", "output_1_1"]
    assert flat_outputs({"z": a, "a": (b, c)}) == {"z": a, "a_0": b, "a_1": c}


@pytest.mark.parametrize("value", [None, 3.0, (), {"a": None}, [torch.zeros(1), "x"]])
def test_what_is_no_tensor(value: object) -> None:
    if value == ():
        with pytest.raises(ExportError, match="tuple for its output"):
            flat_outputs(value)
    else:
        with pytest.raises(ExportError, match="only tensors"):
            flat_outputs(value)
