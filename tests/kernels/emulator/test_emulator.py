"""The emulator itself: lane layouts written from the PTX manual once more, and what it must refuse."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from secateur.kernels.variants import Launch
from tests.kernels.conftest import Emulator, compile_source
from tests.kernels.reference import Array, drawn

PROBES = r"""
#include "device.cuh"
void multiply(const unsigned* a, const unsigned* b, float* c) {
    const int lane = threadIdx.x;
    float sums[4] = {};
    unsigned rows[4];
    for (int e = 0; e < 4; ++e) rows[e] = a[4 * lane + e];
    mma<half_t>(sums, rows, b[2 * lane], b[2 * lane + 1]);
    for (int e = 0; e < 4; ++e) c[4 * lane + e] = sums[e];
}
void matrices(const Pack<half_t>* rows, int transposed, unsigned* out) {
    SHARED_BYTES(shared);
    Pack<half_t>* const tile = reinterpret_cast<Pack<half_t>*>(shared);
    shared_store(tile + threadIdx.x, rows[threadIdx.x]);
    __syncthreads();
    unsigned r[4];
    if (transposed) ldmatrix_transposed(r, tile + threadIdx.x);
    else ldmatrix(r, tile + threadIdx.x);
    for (int m = 0; m < 4; ++m) out[4 * threadIdx.x + m] = r[m];
}
void misuse(int kind, float* out) {
    SHARED_BYTES(shared);
    float* const words = reinterpret_cast<float*>(shared);
    const int t = threadIdx.x;
    if (kind == 1) shared_store(words, 1.f);                             // all threads write one word
    if (kind == 2) shared_store(words + t + 1, 1.f);                     // the last one writes past the end
    if (kind == 3 && t < 32) __syncthreads();                            // half of the block waits
    if (kind == 4 && t % 2 == 0) warp_sum(1.f);                          // half of a warp shuffles
    if (kind == 5) copy_async(words + 4 * (t % 16), out + 1, 16);        // from an address that is not aligned
    if (kind == 6 && t == 0) { copy_async(words, out, 16); copy_commit(); }  // never waited for
    if (kind == 7) out[blockDim.x] = 0.f;                                // one past the buffer
    if (kind == 8) shared_store(reinterpret_cast<float2*>(words + 1), make_float2(0.f, 0.f));
    if (kind == 0) out[t] = 1.f;
}
"""


@pytest.fixture(scope="module")
def probe(need_gpp: None, emulators: Path) -> Iterator[Callable[..., list[Array]]]:
    """Runs one of the probes with 32 or 64 threads and 256 bytes of shared memory for each 64."""
    emulator = Emulator(compile_source(PROBES, emulators, ["multiply", "matrices", "misuse"]))
    yield lambda name, threads, shared, *arguments: emulator.run(
        Launch("probes", name, (1, 1, 1), (threads, 1, 1), shared), arguments
    )
    emulator.close()


def test_mma_multiplies_in_the_layout_of_the_manual(probe: Callable[..., list[Array]]) -> None:
    """PTX ISA, "Matrix Fragments for mma.m16n8k16 with floating point type": group = lane >> 2, thread = lane % 4."""
    a, b = drawn(0, (16, 16), "fp16"), drawn(1, (16, 8), "fp16")
    a_lanes, b_lanes = np.zeros((32, 8), np.float16), np.zeros((32, 4), np.float16)
    for lane in range(32):
        group, thread = lane >> 2, lane % 4
        for i in range(8):
            row = group if i < 2 or 4 <= i < 6 else group + 8
            column = thread * 2 + (i & 1) + (0 if i < 4 else 8)
            a_lanes[lane, i] = a[row, column]
        for i in range(4):
            b_lanes[lane, i] = b[thread * 2 + (i & 1) + (0 if i < 2 else 8), group]
    c = np.zeros((32, 4), np.float32)
    c = probe("multiply", 32, 0, a_lanes.view(np.uint32), b_lanes.view(np.uint32), c)[-1]
    expected = a.astype(np.float64) @ b.astype(np.float64)
    for lane in range(32):
        for i in range(4):
            row, column = (lane >> 2) + (0 if i < 2 else 8), (lane % 4) * 2 + (i & 1)
            assert c[lane, i] == pytest.approx(expected[row, column], rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("transposed", [0, 1])
def test_ldmatrix_gives_each_lane_two_neighbours_of_each_matrix(
    probe: Callable[..., list[Array]], transposed: int
) -> None:
    """PTX ISA, ldmatrix .x4: threads 8 m .. 8 m + 7 address the rows of matrix m; lane l has row l / 4 of each."""
    rows = np.arange(4 * 64, dtype=np.uint16).reshape(4, 8, 8)
    out = probe("matrices", 32, 512, rows, transposed, np.zeros((32, 4), np.uint32))[-1].view(np.uint16)
    for lane in range(32):
        for m in range(4):
            matrix = rows[m].T if transposed else rows[m]
            first = 2 * (lane % 4)
            assert list(out[lane, 2 * m : 2 * m + 2]) == list(matrix[lane // 4, first : first + 2])


@pytest.mark.parametrize(
    ("kind", "report"),
    [
        (1, "race: a store of byte 0 that thread 0 wrote since the last barrier"),
        (2, "a store outside of shared memory at byte 256"),
        (3, "wait for each other: 32 of 64 at a barrier"),
        (4, "wait for each other"),
        (5, "cp.async reads from an address that is not aligned"),
        (6, "a thread left with copies under way"),
        (7, "AddressSanitizer: heap-buffer-overflow"),
        (8, "a store is not aligned to 8 bytes"),
    ],
)
def test_misuse_is_reported(probe: Callable[..., list[Array]], kind: int, report: str) -> None:
    with pytest.raises(RuntimeError, match=report):
        probe("misuse", 64, 256, kind, np.zeros(64, np.float32))


def test_what_is_no_misuse_passes(probe: Callable[..., list[Array]]) -> None:
    assert probe("misuse", 64, 256, 0, np.zeros(64, np.float32))[-1].sum() == 64
