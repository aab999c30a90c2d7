"""What is checked before anything is timed: every kernel, and any number that is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from secateur.benchmarks import gpu_checks
from secateur.benchmarks.gpu_checks import LIMITS, Check, run_checks
from secateur.benchmarks.roofline import peak_of
from secateur.core.errors import KernelError
from secateur.kernels import portable
from secateur.kernels.heads import HeadLayout
from secateur.kernels.variants import RAGGED_TILES, DeviceLimits, Tile

H100 = peak_of("NVIDIA H100 80GB HBM3")


def test_checks_cover_every_kernel_and_notice_a_wrong_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the portable operators in the place of the kernels, and then with one wrong number."""
    tiles = noted_attention(monkeypatch, (3,))
    monkeypatch.setattr(gpu_checks, "DTYPES", {"fp32": torch.float32, "fp16": torch.float16})
    for name in ("window_attention", "residual_layernorm", "bias_gelu"):
        monkeypatch.setattr(gpu_checks.on_gpu, name, standing_in(name))
    found = list(run_checks(H100.limits, "cpu"))
    assert {(tile, parts) for tile, parts, _ in tiles} == {(tile, n) for tile in RAGGED_TILES for n in tile.parts}
    assert [check for check in found if not check.passed] == []
    assert {check.kernel.split(",")[0] for check in found} >= {"window_attention", "residual_layernorm", "bias_gelu"}
    wrong = standing_in("bias_gelu", lambda result: result * 1.1)
    monkeypatch.setattr(gpu_checks.on_gpu, "bias_gelu", wrong)
    assert {check.kernel for check in gpu_checks._rows("fp16", "cpu") if not check.passed} == {"bias_gelu"}


@pytest.mark.parametrize(("limits", "expected"), [(H100.limits, {3}), (replace(H100.limits, capability=100), set())])
def test_short_tiles_are_checked_where_they_run(
    monkeypatch: pytest.MonkeyPatch, limits: DeviceLimits, expected: set[int]
) -> None:
    """Not with more tokens than they take, nor on GPUs for which there are none."""
    tiles = noted_attention(monkeypatch, (3, 209))
    assert all(check.passed for check in gpu_checks._ragged("fp16", limits, "cpu"))
    assert {tokens for tile, _, tokens in tiles if tile.short} == expected
    assert {tokens for tile, _, tokens in tiles if not tile.short} == {3, 209}


def noted_attention(monkeypatch: pytest.MonkeyPatch, tokens: tuple[int, ...]) -> list[tuple[Tile, int, int]]:
    """The tile, the blocks a head and the tokens of every launch, with the portable operator in its place."""
    noted: list[tuple[Tile, int, int]] = []

    def attention(
        qkv: torch.Tensor, layout: HeadLayout, tile: Tile, out: torch.Tensor, parts: int, **extras: Any
    ) -> torch.Tensor:
        noted.append((tile, parts, qkv.shape[1]))
        return written(out, portable.ragged_attention(qkv, layout, **extras))

    monkeypatch.setattr(gpu_checks, "TOKENS", tokens)
    monkeypatch.setattr(gpu_checks.on_gpu, "ragged_attention", attention)
    return noted


def written(out: Any, result: Any) -> Any:
    """The results in the tensors that they are wanted in."""
    for place, value in zip(*((x if isinstance(x, tuple) else (x,)) for x in (out, result)), strict=True):
        place.copy_(value)
    return out


def standing_in(name: str, change: Callable[[Any], Any] = lambda result: result) -> Callable[..., Any]:
    """A portable operator with the call of the kernel's."""
    return lambda *arguments, out: written(out, change(getattr(portable, name)(*arguments)))


def failures(monkeypatch: pytest.MonkeyPatch, name: str, kernel: Callable[..., Any]) -> dict[str, str]:
    """Why the checks of the row kernels failed, by kernel, where `kernel` is in the place of one."""
    for other in ("residual_layernorm", "bias_gelu"):
        monkeypatch.setattr(gpu_checks.on_gpu, other, kernel if other == name else standing_in(other))
    return {check.kernel: check.failure for check in gpu_checks._rows("fp32", "cpu") if not check.passed}


def test_an_element_that_is_not_written_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the memory held the right result before: outputs are poisoned."""

    def all_but_one(x: torch.Tensor, bias: torch.Tensor, out: torch.Tensor) -> None:
        out.view(-1)[1:] = portable.bias_gelu(x, bias).view(-1)[1:]

    assert failures(monkeypatch, "bias_gelu", all_but_one) == {"bias_gelu": gpu_checks.NOT_FINITE}
    second = "residual_layernorm, normed"
    assert failures(
        monkeypatch, "residual_layernorm", lambda *a, out: out[0].copy_(portable.residual_layernorm(*a)[0])
    ) == {second: gpu_checks.NOT_FINITE}


def test_a_check_that_raises_is_a_failure_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*arguments: object, out: object) -> None:
        raise KernelError("the driver refused to launch it:\nmore")

    found = failures(monkeypatch, "residual_layernorm", refused)
    assert found == dict.fromkeys(
        ("residual_layernorm, sum", "residual_layernorm, normed"), "KernelError: the driver refused to launch it:"
    )


@pytest.mark.parametrize("dtype", LIMITS)
def test_a_check_passes_below_the_limit_of_its_type(dtype: str) -> None:
    assert Check("any", dtype, "", 0.9 * LIMITS[dtype]).passed
    assert not Check("any", dtype, "", 1.1 * LIMITS[dtype]).passed


def test_nan_anywhere_is_no_error_that_passes() -> None:
    expected = torch.ones(3, dtype=torch.float64)
    assert gpu_checks._error(torch.tensor([1.0, 1.0, 1.5]), expected) == pytest.approx(0.5 / 3**0.5)
    assert gpu_checks._error(torch.tensor([1.0, float("nan"), 1.0]), expected) is None
    assert not Check("any", "fp32", "", None, gpu_checks.NOT_FINITE).passed
