"""Mistakes planted in the kernels are caught: missing barriers as races, a step too far by ASan or by the values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from math import erf
from pathlib import Path

import numpy as np
import pytest

from secateur.kernels.heads import HeadLayout
from secateur.kernels.variants import RAGGED_TILES, Launch, attention_launch, gelu_launch, layernorm_launch
from tests.kernels.conftest import Emulator, Variant, compile_variants
from tests.kernels.reference import TOLERANCE, Array, attention, drawn, error_of, poisoned

LAYOUT = HeadLayout((16, 8), (8, 24), 0.5)
TOKENS = 70
SHORT = "attention_short.cuh"
RACE, UNDER_WAY, SANITIZER, WRONG = "race", "left with copies under way", "AddressSanitizer", "wrong values"


@dataclass(frozen=True)
class Case:
    """A launch, its arguments (the output last) and what must come out."""

    launch: Launch
    arguments: list[Array | int | float | None]
    expected: Array


def ragged(suffix: str, extras: bool = False, times: float = 1.0) -> Case:
    """The ragged attention of one sequence by the tile of that name, on inputs `times` as large.

    With `extras` there are two sequences, both biases and a mask for each, and two blocks share a head where they can.
    """
    tile = next(tile for tile in RAGGED_TILES if tile.suffix == suffix)
    batch, heads = 1 + extras, LAYOUT.heads
    qkv = drawn(0, (batch, TOKENS, LAYOUT.row_width), "fp16") * np.float16(times)
    launch = attention_launch("ragged_attention", tile, LAYOUT, "fp16", batch, TOKENS, batch)
    out = poisoned((batch, TOKENS, LAYOUT.out_width), "fp16")
    table = np.array(LAYOUT.table, np.int32)
    if not extras:
        return Case(launch, [qkv, None, None, 0, None, 0, table, TOKENS, out], attention(qkv, LAYOUT))
    qkv_bias, bias = drawn(1, (LAYOUT.row_width,), "fp16"), drawn(2, (heads, TOKENS, TOKENS), "fp16")
    mask = drawn(3, (batch, TOKENS, TOKENS), "fp16")
    expected = attention(qkv, LAYOUT, qkv_bias, bias, mask)
    return Case(launch, [qkv, qkv_bias, bias, heads, mask, batch, table, TOKENS, out], expected)


def layernorm() -> Case:
    """Five rows of 24 elements, normalised without weights of their own."""
    x, weight, bias = drawn(0, (5, 24), "fp16"), np.ones(24, np.float16), np.zeros(24, np.float16)
    off = x.astype(np.float64) - x.astype(np.float64).mean(1, keepdims=True)
    arguments = [x, None, None, weight, bias, 5, 24, 1e-6, None, poisoned(x.shape, "fp16")]
    return Case(layernorm_launch("fp16", 5, 24), arguments, off / np.sqrt((off**2).mean(1, keepdims=True) + 1e-6))


def gelu() -> Case:
    """Five rows of 24 elements, in fewer blocks than there are packs for."""
    x, bias = drawn(0, (45, 400), "fp16"), drawn(1, (400,), "fp16")
    t = x.astype(np.float64) + bias.astype(np.float64)
    expected = t / 2 * (1 + np.vectorize(erf)(t / np.sqrt(2)))
    return Case(gelu_launch("fp16", *x.shape, 1), [x, bias, *x.shape, poisoned(x.shape, "fp16")], expected)


CASES: dict[str, Callable[[], Case]] = {
    "mma": lambda: ragged("_d64"),
    "few": lambda: ragged("_d64_few"),
    "short": lambda: ragged("_d64_short208"),
    "short with large logits": lambda: ragged("_d64_short208", times=20.0),
    "short with extras": lambda: ragged("_d64_short208", extras=True),
    "plain": lambda: ragged("_plain_d64"),
    "layernorm": layernorm,
    "gelu": gelu,
}
# name -> (case, file, old text, new text, how it is caught)
MISTAKES = {
    "no barrier before a tile is read": (
        "mma", "attention_mma.cuh", "__syncthreads();  // tile has arrived for all threads", "", RACE),
    "no barrier before a tile is overwritten": (
        "mma", "attention_mma.cuh", "__syncthreads();  // all warps have read this stage", "//", RACE),
    "no barrier before the results meet": (
        "few", "attention_mma.cuh", "__syncthreads();  // all partial results are there", "", RACE),
    "a barrier that one warp skips": (
        "mma", "attention_mma.cuh", "__syncthreads();  // all partial", "if (warp) __syncthreads();  //", RACE),
    "a copy that is not waited for": ("mma", "attention_mma.cuh", "copy_wait<1>();", "copy_wait<2>();", WRONG),
    "a row read too far": (
        "mma", "attention_mma.cuh", "inside = first + r < rows.tokens;", "inside = first + r <= rows.tokens;",
        SANITIZER),
    "a row written too far": (
        "mma", "attention_mma.cuh", "if (first_row + r >= rows.tokens ||", "if (first_row + r > rows.tokens ||",
        SANITIZER),
    "a key too many": ("mma", "attention_mma.cuh", "logit = j < rows.tokens ?", "logit = j <= rows.tokens ?", WRONG),
    "an output column left out": (
        "mma", "attention_mma.cuh", "chunk * 8 >= head.v) continue;", "chunk * 8 >= head.v - 8) continue;", WRONG),
    "a warp's share of the keys left out": (
        "few", "attention_mma.cuh", "total += part[s].y * share;", "total += part[0].y * share;", WRONG),
    "keys that have not arrived": ("short", SHORT, "copy_wait<1>();", "copy_wait<2>();", RACE),
    "no barrier before keys are read": ("short", SHORT, "__syncthreads();  // the keys are there", "//", RACE),
    "values that have not arrived": ("short", SHORT, "copy_wait<0>();", "copy_wait<1>();", UNDER_WAY),
    "no barrier before values are read": ("short", SHORT, "__syncthreads();  // the values are there", "//", RACE),
    "a warp that misses the values' barrier": (
        "short with extras", SHORT, "group < groups || !values_there;", "group < groups;", UNDER_WAY),
    "a key too many of all": ("short", SHORT, "e % 2 >= rows.tokens)", "e % 2 > rows.tokens)", WRONG),
    "no mask in the last step": ("short", SHORT, "if (n == last) {", "if (n > last) {", WRONG),
    "a group of rows left out": ("short", SHORT, "stride = kWarps * gridDim.z", "stride = 2 * kWarps", WRONG),
    "a block that takes the rows of another": (
        "short with extras", SHORT, "blockIdx.z * kWarps + warp", "warp", WRONG),
    "a maximum that is not scaled": (
        "short with large logits", SHORT, "-exponent_base(highest[r]) * factor", "-exponent_base(highest[r])", WRONG),
    "the scale left out": ("short", SHORT, "? 1.f : head.scale_log2", "? 1.f : kLog2e", WRONG),
    "the scale left out where a bias is added": (
        "short with extras", SHORT, "logit = logit * head.scale_log2 +", "logit = logit * kLog2e +", WRONG),
    "the bias of another head": (
        "short with extras", "attention.cuh", "bias + (bias_heads > 1 ? head : 0)", "bias + 0", WRONG),
    "the mask of another sequence": (
        "short with extras", "attention.cuh", "mask + (sequence % masks)", "mask + 0", WRONG),
    "a bias of values that is not weighted": (
        "short with extras", SHORT, "to_float(v_bias[column]) * weight", "to_float(v_bias[column])", WRONG),
    "the wrong columns of values": (
        "short", SHORT, "swizzled<D>(lane % 16, lane / 16)", "swizzled<D>(lane % 16, 0)", WRONG),
    "sixteen columns of values left out": (
        "short", SHORT, "multiply_values<T, 2, D, kSteps>", "multiply_values<T, 1, D, kSteps>", WRONG),
    "queries by the stride of the output": (
        "short", SHORT, "head.row_stride + head.q_at", "head.out_stride + head.q_at", WRONG),
    "keys of the wrong head": (
        "short", SHORT, "16 * all_steps, head.k_at", "16 * all_steps, Head(table, 0).k_at", WRONG),
    "rows written by the stride of the input": (
        "short", SHORT, "mine.out_stride + mine.out_at", "mine.row_stride + mine.out_at", SANITIZER),
    "a row of all written too far": (
        "short", SHORT, "if (i >= rows.tokens) continue;", "if (i > rows.tokens) continue;", SANITIZER),
    "a row of all read too far": (
        "short", SHORT, "const bool inside = r < rows.tokens;", "const bool inside = r <= rows.tokens;", SANITIZER),
    "values over keys that are still read": (
        "plain", "attention_plain.cuh", "__syncthreads();  // the keys have been read", "//", RACE),
    "keys over values that are still read": (
        "plain", "attention_plain.cuh", "__syncthreads();  // the values have been read", "", RACE),
    "a row of queries written too far": (
        "plain", "attention_plain.cuh", "if (i >= rows.tokens) continue;", "if (i > rows.tokens) continue;", SANITIZER),
    "a warp without a row": (
        "layernorm", "residual_layernorm.cu", "if (row >= rows) return;", "if (row > rows) return;", SANITIZER),
    "rows that share their memory": (
        "layernorm", "residual_layernorm.cu", "threadIdx.y * chunks * kCount;", "threadIdx.y * (chunks - 1) * kCount;",
        RACE),
    "a pack too many": (
        "gelu", "bias_gelu.cu", "total = rows * packs;", "total = rows * packs + 1;", SANITIZER),
    "one stride only": (
        "gelu", "bias_gelu.cu", "n += static_cast<long long>(gridDim.x) * blockDim.x) {", "n += total) {", WRONG),
}  # fmt: skip


@pytest.fixture(scope="module")
def planted(need_gpp: None, emulators: Path) -> Iterator[Callable[[str], list[Array]]]:
    """A function that runs the case of a mistake on the kernel with that mistake, and gives the case's arrays."""
    cases = {what: make() for what, make in CASES.items()}
    variants: dict[bool, list[Variant]] = {True: [], False: []}
    names = {mistake: f"planted_{number}" for number, mistake in enumerate(MISTAKES)}
    for mistake, (what, file, old, new, caught) in MISTAKES.items():
        launch = cases[what].launch
        change = (file, old, new)
        variants[caught == SANITIZER].append(Variant(names[mistake], launch.source, launch.kernel, change=change))

    def built(sanitize: bool) -> Emulator:
        return Emulator(compile_variants(variants[sanitize], emulators, sanitize))

    with ThreadPoolExecutor(2) as pool:
        running = dict(zip(variants, pool.map(built, variants), strict=True))

    def run(mistake: str) -> list[Array]:
        what, *_, caught = MISTAKES[mistake]
        launch = replace(cases[what].launch, kernel=names[mistake])
        return running[caught == SANITIZER].run(launch, cases[what].arguments)

    yield run
    for emulator in running.values():
        emulator.close()


@pytest.mark.parametrize("name", MISTAKES)
def test_a_planted_mistake_is_caught(planted: Callable[[str], list[Array]], name: str) -> None:
    what, *_, caught = MISTAKES[name]
    if caught == WRONG:
        assert error_of(planted(name)[-1], CASES[what]().expected) > 2 * TOLERANCE["fp16"]
    else:
        with pytest.raises(RuntimeError, match=caught):
            planted(name)


@pytest.mark.parametrize("what", CASES)
def test_the_same_cases_pass_unchanged(emulate: Callable[..., list[Array]], what: str) -> None:
    case = CASES[what]()
    assert error_of(emulate(case.launch, case.arguments)[-1], case.expected) < 2 * TOLERANCE["fp16"]
