from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import onnx_ir as ir
import pytest
import torch

from secateur.export.half.narrow import rounded
from secateur.export.quantize.formats import FORMATS


def test_int8_is_symmetric_and_cuts_off() -> None:
    form = FORMATS["int8"]
    values = np.array([-9.0, -1.27, -0.004, 0.0, 0.006, 1.27, 9.0], np.float32)
    assert form.encode(values, form.scale(1.27)).tolist() == [-127, -127, 0, 0, 1, 127, 127]
    np.testing.assert_allclose(form.round(values, 1.27), [-1.27, -1.27, 0, 0, 0.01, 1.27, 1.27], atol=1e-6)


def test_without_a_sign_int8_has_twice_as_many_numbers() -> None:
    form = FORMATS["int8"].without_sign()
    values = np.array([-1.0, 0.0, 0.1, 1.0, 2.55, 9.0])
    assert form.encode(values, form.scale(2.55)).tolist() == [-128, -128, -118, -28, 127, 127]
    np.testing.assert_allclose(form.round(values, 2.55), [0, 0, 0.1, 1.0, 2.55, 2.55], rtol=1e-6)
    assert FORMATS["fp8"].without_sign() is FORMATS["fp8"]


def test_fp8_is_that_of_pytorch() -> None:
    form = FORMATS["fp8"]
    values = np.random.default_rng(0).normal(0, 50, 500).astype(np.float32)
    wanted = torch.from_numpy(values).to(torch.float8_e4m3fn).float().numpy()
    np.testing.assert_array_equal(form.round(values, 448.0), wanted)
    assert form.round(np.array([1e6, -1e6], np.float32), 448.0).tolist() == [448.0, -448.0]  # no infinities


@pytest.mark.parametrize("rest", ["fp16", "bf16"])
def test_scales_are_numbers_of_the_type_of_what_they_scale(rest: Literal["fp16", "bf16"]) -> None:
    reaches = np.geomspace(1e-7, 1e6, 400).astype(np.float32)
    exact, found = (replace(FORMATS["int8"], rest=word).scale(reaches) for word in ("fp32", rest))
    np.testing.assert_array_equal(rounded(found, rest).astype(np.float32), found)
    assert (found >= exact).all()  # nothing is cut off
    normal = exact > 2.0**-14
    assert (found[normal] <= exact[normal] * (1 + 2.0 ** (-9 if rest == "fp16" else -6))).all()
    assert replace(FORMATS["int8"], rest="fp16").scale(1e8) == np.float32(1e8 / 127)  # it scales what stays in fp32


@pytest.mark.parametrize("word", FORMATS)
def test_scales(word: str) -> None:
    form = FORMATS[word]
    assert form.scale(np.array([0.0, form.most])).tolist() == [1.0, 1.0]
    assert form.scale(1e-45) > 0
    assert form.element in (ir.DataType.INT8, ir.DataType.FLOAT8E4M3FN)
    assert form.encode(np.zeros(2), 1.0).dtype == form.element.numpy()
